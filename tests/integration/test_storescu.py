"""DCMTK's own programs against the receiver, as a modality would use them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom import dcmread

from node.database import connect, metadata
from tests.tools.receiver import REAL, Receiver, real, receiver, stored_data_set

#: storescu's option for the transfer syntax of a file, as it proposes no other by itself.
PROPOSED = {
    "MR_small_bigendian.dcm": "--propose-big", "rtplan.dcm": "--propose-implicit", "image_dfl": "--propose-deflated",
    "SC_rgb_dcmtk_pebpcyps4.dcm": "--propose-jpeg8", "sm_image_jpegls_nobot.dcm": "--propose-jls-lossless",
    "NM1_JLSN.dcm": "--propose-jls-lossy", "GDCMJ2K_TextGBR.dcm": "--propose-j2k-lossless",
    "JPEG2000-embedded-sequence-delimiter.dcm": "--propose-j2k-lossy", "SC_rgb_rle_16bit_2frame.dcm": "--propose-rle",
}


@pytest.fixture
def node(sqlite_url: str, tmp_path: Path, engine_name: str) -> Iterator[Receiver]:
    engine: sa.Engine = connect(sqlite_url)
    metadata.create_all(engine)
    with receiver(engine, tmp_path / "data", receive={"engine": engine_name}) as node:
        yield node
    engine.dispose()


def dcmtk(program: str, node: Receiver, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run one of DCMTK's SCUs to its end. It waits for the answer to each write, as no TCP_NODELAY is set."""
    command = [program, "-v", "-aec", "AINODE", "127.0.0.1", str(node.port), *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, env={"PATH": "/usr/bin"})


def test_echoscu_is_answered(node: Receiver) -> None:
    assert dcmtk("echoscu", node).returncode == 0


@pytest.mark.parametrize(("name", "proposal"), PROPOSED.items())
def test_storescu_stores_a_file_as_it_is(node: Receiver, name: str, proposal: str) -> None:
    done = dcmtk("storescu", node, "--required", proposal, REAL / name)
    assert done.returncode == 0, done.stderr + done.stdout
    row, = node.rows()
    assert row.transfer_syntax_uid == real(name).transfer_syntax_uid
    stored, sent = (dcmread(path, stop_before_pixels=True) for path in (node.data_dir / row.path, REAL / name))
    assert stored == sent  # as elements: storescu encodes anew what it read


def test_storescu_sends_many_over_one_association(node: Receiver, tmp_path: Path) -> None:
    files = [Path(shutil.copy(REAL / "chrKoreanMulti.dcm", tmp_path / f"{number}.dcm")) for number in range(40)]
    assert dcmtk("storescu", node, "--required", *files).returncode == 0
    sent = real("chrKoreanMulti.dcm")
    assert [row.sop_instance_uid for row in node.rows()] == [sent.sop_instance_uid] * 40
    assert len({row.path for row in node.rows()}) == 40
    assert all((node.data_dir / row.path).is_file() for row in node.rows())


def test_storescu_is_told_why_not(node: Receiver) -> None:
    done = dcmtk("storescu", node, "--required", REAL / "TC1177_uid_traversal_config.dcm")
    assert done.returncode != 0
    assert re.search("Error: CannotUnderstand|c000", done.stderr + done.stdout)


def test_storescu_that_aborts_leaves_what_it_had_sent(node: Receiver) -> None:
    assert dcmtk("storescu", node, "--required", "--abort", REAL / "chrKoreanMulti.dcm").returncode == 0
    row, = node.rows()
    assert stored_data_set(node.data_dir / row.path)

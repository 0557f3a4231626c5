"""Programs of other makers as senders, with the options that sites use."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.tools.receiver import REAL, Receiver, real
from tests.tools.waiting import wait_until

PLAIN = "MR_small_bigendian.dcm"
COMPRESSED = ("SC_rgb_rle_16bit_2frame.dcm", "GDCMJ2K_TextGBR.dcm", "NM1_JLSN.dcm", "SC_rgb_dcmtk_pebpcyps4.dcm")


def run(
    node: Receiver, program: str, *arguments: str | Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """One of DCMTK's programs, called for the node, to its end; options go before the peer."""
    options = [str(one) for one in arguments if not isinstance(one, Path)]
    files = [str(one) for one in arguments if isinstance(one, Path)]
    command = [program, "-v", "-aec", "AINODE", *options, "127.0.0.1", str(node.port), *files]
    path = {"PATH": "/usr/bin:/bin", "TCP_NODELAY": "1"} if environment is None else dict(environment)
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, env=path)


def sent_well(done: subprocess.CompletedProcess[str]) -> bool:
    assert done.returncode == 0, done.stdout + done.stderr
    return True


def audited(node: Receiver, action: str) -> int:
    return node.actions().count(action)


def test_echoscu_may_repeat_and_propose_many(shared_node: Receiver) -> None:
    assert sent_well(run(shared_node, "echoscu", "--repeat", "5", "--propose-ts", "38", "--propose-pc", "128"))
    assert sent_well(run(shared_node, "echoscu", "--abort"))


def test_termscu_cannot_end_the_node(shared_node: Receiver) -> None:
    """DCMTK's private shutdown class is not proposed by anybody we know, and not accepted."""
    assert run(shared_node, "termscu").returncode != 0
    assert sent_well(run(shared_node, "echoscu"))


TRANSFER = {
    "--propose-uncompr": ExplicitVRLittleEndian, "--propose-little": ExplicitVRLittleEndian,
    "--propose-big": ExplicitVRBigEndian, "--propose-implicit": ImplicitVRLittleEndian,
}


@pytest.mark.parametrize("proposal", TRANSFER)
def test_storescu_proposes_uncompressed_syntaxes_in_any_order(shared_node: Receiver, proposal: str) -> None:
    assert sent_well(run(shared_node, "storescu", "-R", proposal, REAL / PLAIN))
    assert [row.transfer_syntax_uid for row in shared_node.rows()] == [TRANSFER[proposal]]


OPTIONS: dict[str, tuple[str, ...]] = {
    "every class it knows": (),
    "one context for all syntaxes": ("+C",),
    "required, and combined": ("-R", "+C"),
    "the smallest PDU": ("-R", "-pdu", "4096"),
    "the largest PDU": ("-R", "-pdu", "131072"),
    "small PDUs to us": ("-R", "--max-send-pdu", "4096"),
    "time-outs": ("-R", "-to", "5", "-ts", "5", "-ta", "5", "-td", "20"),
    "twice over one association": ("-R", "--repeat", "2"),
    "invented UIDs": ("-R", "--repeat", "3", "+II"),
    "invented studies": ("-R", "--repeat", "3", "+IR", "1", "+IS", "1", "+IP", "1"),
    "no halt": ("-R", "-nh"),
    "an abort at the end": ("-R", "--abort"),
    "a calling AE title of 16 letters": ("-R", "-aet", "MODALITY_16_CHAR"),
    "a user name": ("-R", "-usr", "someone"),
    "a user name and a password": ("-R", "-usr", "someone", "-pwd", "secret"),
    "no new VRs": ("-R", "-u"),
    "deflated": ("-R", "--propose-deflated", "+cl", "9"),
    "JPEG 2000 beside the uncompressed": ("-R", "--propose-j2k-lossless"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_storescu_with_many_options(shared_node: Receiver, name: str) -> None:
    before = audited(shared_node, "association.accepted")
    assert sent_well(run(shared_node, "storescu", *OPTIONS[name], REAL / PLAIN))
    expected = int(OPTIONS[name][OPTIONS[name].index("--repeat") + 1]) if "--repeat" in OPTIONS[name] else 1
    rows = shared_node.rows()
    assert len(rows) == expected
    assert audited(shared_node, "association.accepted") == before + 1
    assert len({row.sop_instance_uid for row in rows}) == (expected if "invented" in name else 1)
    pixels = dcmread(REAL / PLAIN).pixel_array
    assert all((dcmread(shared_node.data_dir / row.path).pixel_array == pixels).all() for row in rows)


def test_storescu_as_shipped_with_nagles_algorithm(shared_node: Receiver) -> None:
    assert sent_well(run(shared_node, "storescu", "-R", REAL / PLAIN, environment={"PATH": "/usr/bin:/bin"}))
    assert len(shared_node.rows()) == 1


def test_storescu_sends_what_lies_below_a_folder(shared_node: Receiver, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}").mkdir()
        shutil.copy(REAL / PLAIN, tmp_path / f"{number}" / "image.dcm")
    (tmp_path / "0" / "note.txt").write_text("no DICOM")
    assert sent_well(run(shared_node, "storescu", "+sd", "+r", "+sp", "*.dcm", "+rn", tmp_path))
    assert len(shared_node.rows()) == 3
    assert len(list(tmp_path.rglob("*.done"))) == 3


def test_storescu_goes_on_after_one_that_is_refused(shared_node: Receiver) -> None:
    done = run(shared_node, "storescu", "-nh", "-R", REAL / "TC1177_uid_traversal_config.dcm", REAL / PLAIN)
    assert "CannotUnderstand" in done.stdout + done.stderr
    assert [row.sop_instance_uid for row in shared_node.rows()] == [real(PLAIN).sop_instance_uid]


def test_storescu_that_insists_on_an_answer_to_its_user_is_told_none(shared_node: Receiver) -> None:
    done = run(shared_node, "storescu", "-R", "-usr", "someone", "-rsp", REAL / PLAIN)
    assert done.returncode != 0
    wait_until(lambda: not shared_node.associations())
    assert shared_node.rows() == []


def test_dcmsend_reports_every_instance_as_stored(shared_node: Receiver, tmp_path: Path) -> None:
    report, files = tmp_path / "report.txt", [REAL / name for name in (PLAIN, "rtplan.dcm", "sr_document.dcm")]
    command = ["dcmsend", "-v", "-aec", "AINODE", "+crf", str(report), "127.0.0.1", str(shared_node.port),
               *map(str, files)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    text = report.read_text()
    assert text.count("0x0000 (Success)") == len(files), text
    assert len(shared_node.rows()) == len(files)


def test_dcmsend_keeps_compressed_pixels_as_they_are(shared_node: Receiver) -> None:
    assert sent_well(run(shared_node, "dcmsend", "--decompress-never", "-nh", *(REAL / name for name in COMPRESSED)))
    assert {row.transfer_syntax_uid for row in shared_node.rows()} == {
        real(name).transfer_syntax_uid for name in COMPRESSED}
    stored = {row.sop_instance_uid: dcmread(shared_node.data_dir / row.path).PixelData for row in shared_node.rows()}
    assert stored == {real(name).sop_instance_uid: dcmread(REAL / name).PixelData for name in COMPRESSED}


@pytest.mark.parametrize("option", ["--multi-associations", "--single-association"])
def test_dcmsend_over_one_association_or_several(shared_node: Receiver, tmp_path: Path, option: str) -> None:
    for option_of_syntax in ("+te", "+ti"):
        subprocess.run(["dcmconv", option_of_syntax, REAL / PLAIN, tmp_path / f"{option_of_syntax}.dcm"], check=True)
    files = [*sorted(tmp_path.glob("*.dcm")), *(REAL / name for name in COMPRESSED)]
    before = audited(shared_node, "association.accepted")
    assert sent_well(run(shared_node, "dcmsend", option, "--decompress-never", "-nh", *files))
    assert len(shared_node.rows()) == len(files)
    assert audited(shared_node, "association.accepted") > before


def test_dcmsend_of_a_folder(shared_node: Receiver, tmp_path: Path) -> None:
    for name in (PLAIN, "rtplan.dcm"):
        shutil.copy(REAL / name, tmp_path / name)
    assert sent_well(run(shared_node, "dcmsend", "+sd", "+r", tmp_path))
    assert len(shared_node.rows()) == 2


def test_two_storescus_at_once(shared_node: Receiver) -> None:
    command = ["storescu", "-R", "--repeat", "10", "-aec", "AINODE", "127.0.0.1", str(shared_node.port),
               str(REAL / PLAIN)]
    running = [subprocess.Popen(command, env={"PATH": "/usr/bin:/bin", "TCP_NODELAY": "1"}) for _ in range(2)]
    assert [one.wait(timeout=120) for one in running] == [0, 0]
    assert len(shared_node.rows()) == 20


@pytest.mark.parametrize("options", [(), ("--max-pdu", "0"), ("-cx",)], ids=str)
def test_the_storescu_of_pynetdicom(shared_node: Receiver, options: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "pynetdicom", "storescu", *options, "127.0.0.1", str(shared_node.port),
               str(REAL / "chrKoreanMulti.dcm")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    row, = shared_node.rows()
    stored, sent = (dcmread(path) for path in (shared_node.data_dir / row.path, REAL / "chrKoreanMulti.dcm"))
    lengths = {element.tag for element in (*stored, *sent) if not element.tag.element}
    assert [one for one in stored if one.tag not in lengths] == [one for one in sent if one.tag not in lengths]

"""What `make corpus` makes of files before it sends them."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.corpus import Unsendable, instance_of
from scripts.corpus_table import Line, differences, read, write
from tests.tools.receiver import CT, EXPLICIT_LITTLE, IMPLICIT_LITTLE, REAL, made, real


@pytest.mark.parametrize("name", ["image_dfl", "MR_small_bigendian.dcm", "SC_rgb_rle_16bit_2frame.dcm", "rtplan.dcm"])
def test_a_file_goes_as_it_is_in_its_own_syntax(name: str) -> None:
    assert instance_of(REAL / name) == real(name)


def test_a_data_set_alone_goes_in_the_syntax_it_is_written_in(tmp_path: Path) -> None:
    alone = made("1.2.3.4")
    (tmp_path / "explicit").write_bytes(alone.data)
    assert instance_of(tmp_path / "explicit") == alone
    implicit = b"\x08\x00\x16\x00\x1a\0\0\0" + CT.encode() + b"\0\x08\x00\x18\x00\x04\0\0\0" + b"1.2\0"
    (tmp_path / "implicit").write_bytes(implicit)
    found = instance_of(tmp_path / "implicit")
    assert (found.sop_class_uid, found.transfer_syntax_uid, found.data) == (CT, IMPLICIT_LITTLE, implicit)


def test_file_meta_information_without_a_syntax_is_seen_through(tmp_path: Path) -> None:
    meta = b"\x02\0\x02\0UI\x1a\0" + CT.encode() + b"\0"
    (tmp_path / "f").write_bytes(bytes(128) + b"DICM" + meta + made("1.2.3.4").data)
    found = instance_of(tmp_path / "f")
    assert (found.sop_class_uid, found.sop_instance_uid, found.transfer_syntax_uid) == (CT, "1.2.3.4", EXPLICIT_LITTLE)


@pytest.mark.parametrize("content", [b"", b"# not DICOM at all\n" * 20, bytes(4000)])
def test_what_is_not_dicom_is_named_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(Unsendable, match="not DICOM"):
        instance_of(tmp_path / "f")


def line(file: str, outcome: str, why: str = "") -> Line:
    return Line(file=file, outcome=outcome, why=why)


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    lines = [line("a/1.dcm", "0x0000 accepted confirmed"), line("b", "not sent", "not DICOM, \"really\"")]
    write(tmp_path / "table.csv", lines)
    assert read(tmp_path / "table.csv") == lines


def test_what_differs_from_the_expected_table_is_said_file_by_file() -> None:
    expected = [line("same", "ok"), line("other", "ok"), line("reason", "no", "modality CT"), line("gone", "ok")]
    found = [line("same", "ok"), line("other", "failed"), line("reason", "no", "modality MR"), line("new", "ok")]
    assert differences(found, expected) == [
        "gone: in the table, and no such file was sent",
        "new: not in the table; became 'ok'",
        "other: expected 'ok', became 'failed'",
        "reason: expected 'no' (modality CT), became 'no' (modality MR)",
    ]
    assert differences(found, found) == []


def test_another_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("file,images\n")
    with pytest.raises(ValueError, match=r"expected .'file', 'outcome', 'why'.; write one with --write"):
        read(tmp_path / "table.csv")


def test_the_committed_table_has_a_line_for_every_real_file() -> None:
    """`make corpus DATA=tests/data/real ARGS="--write tests/data/expected_corpus.csv"`; read what changed."""
    assert {line.file for line in read(REAL.parent / "expected_corpus.csv")} == {path.name for path in REAL.iterdir()}

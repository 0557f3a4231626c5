"""What `make corpus` makes of files before it sends them."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.corpus import Unsendable, instance_of
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

"""Heads: found in every encoding while bytes arrive, read whatever the file is like, compared when one comes again."""

from __future__ import annotations

import contextlib
import re
import struct
import subprocess
import sys
import unicodedata
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from node import header
from node.errors import BadInput, StorageError, Undecodable, UnusableIdentity
from node.header import pixels, texts
from node.header.comparison import same_decoded
from tests.tools.radiographs import REAL, radiograph, write

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
FLAT = np.zeros((2, 2), dtype=np.uint8)
ENCODINGS = [IMPLICIT, EXPLICIT, BIG, DEFLATED]


def encoded(image: Dataset, transfer_syntax_uid: str) -> bytes:
    """The data set alone, as it travels in a C-STORE."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = transfer_syntax_uid == IMPLICIT
    buffer.is_little_endian = transfer_syntax_uid != BIG
    write_dataset(buffer, image)
    if transfer_syntax_uid != DEFLATED:
        return buffer.getvalue()
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(buffer.getvalue()) + deflater.flush()


def thorny() -> Dataset:
    """UIDs behind group lengths, nested sequences of undefined length, and a long private element."""
    inner = Dataset()
    inner.SOPInstanceUID = "6.6.6"
    inner.ReferencedSeriesSequence = Sequence([Dataset(), Dataset()])
    inner["ReferencedSeriesSequence"].is_undefined_length = True
    inner.is_undefined_length_sequence_item = True
    image = Dataset()
    image.add_new(0x00080000, "UL", 1234)
    image.SOPClassUID, image.SOPInstanceUID, image.Modality = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3.1", "DX"
    image.ReferencedStudySequence = Sequence([inner])
    image["ReferencedStudySequence"].is_undefined_length = True
    image.add_new(0x00090010, "LO", "SOMEONE")
    image.add_new(0x00091001, "OB", b"\x20\x00\x0d\x00" * 20000)
    image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.3.2", "1.2.3.3"
    return image


@pytest.mark.parametrize("syntax", ENCODINGS)
def test_the_five_values_are_found_in_every_encoding(syntax: str) -> None:
    found = header.scan(encoded(thorny(), syntax), syntax, last=True)
    assert found == header.ScannedHead(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1", sop_instance_uid="1.2.3.1", modality="DX",
        study_instance_uid="1.2.3.2", series_instance_uid="1.2.3.3", complete=True,
    )


@pytest.mark.parametrize("syntax", ENCODINGS)
def test_a_growing_buffer_is_complete_exactly_when_nothing_can_change_any_more(syntax: str) -> None:
    whole = encoded(thorny(), syntax)
    final = header.scan(whole, syntax, last=True)
    steps = [header.scan(whole[:size], syntax) for size in range(0, len(whole) + 1, max(1, len(whole) // 300))]
    assert not steps[0].complete
    assert all(step == final for step in steps if step.complete)
    assert header.scan(whole, syntax).complete


@pytest.mark.parametrize("declared", [IMPLICIT, EXPLICIT, BIG])
@pytest.mark.parametrize("actual", [IMPLICIT, EXPLICIT, BIG])
def test_a_mislabelled_encoding_is_seen_through(declared: str, actual: str) -> None:
    assert header.scan(encoded(thorny(), actual), declared).series_instance_uid == "1.2.3.3"


def test_what_is_not_there_is_empty_and_known_to_be_missing() -> None:
    image = Dataset()
    image.SOPInstanceUID, image.Rows = "1.2", 5
    found = header.scan(encoded(image, EXPLICIT), EXPLICIT)
    assert (found.sop_instance_uid, found.study_instance_uid, found.complete) == ("1.2", "", True)


def test_an_unknown_vr_of_undefined_length_is_implicit_inside() -> None:
    """PS3.5 section 6.2.2: whatever surrounds it, its content is Implicit VR Little Endian."""
    inside = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + struct.pack("<HHI", 0x0008, 0x0018, 4) + b"6.6\x00"
    closed = inside + struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    unknown = struct.pack("<HH2sHI", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF) + closed
    uid = struct.pack("<HH2sH", 0x0020, 0x000D, b"UI", 4) + b"1.2\x00"
    found = header.scan(struct.pack("<HH2sH", 0x0008, 0x0005, b"CS", 0) + unknown + uid, EXPLICIT)
    assert (found.study_instance_uid, found.sop_instance_uid) == ("1.2", "")


def test_an_item_outside_a_sequence_does_not_hide_what_follows() -> None:
    stray = struct.pack("<HHI", 0xFFFE, 0xE000, 4) + b"lost"
    uid = struct.pack("<HH2sH", 0x0020, 0x000D, b"UI", 4) + b"1.2\0"
    found = header.scan(struct.pack("<HH2sH", 0x0018, 0x5010, b"LO", 0) + stray + uid, EXPLICIT)
    assert found.study_instance_uid == "1.2"


def nested(depth: int) -> bytes:
    opening = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    opening += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    closing = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    uid = struct.pack("<HH2sH", 0x0020, 0x000D, b"UI", 4) + b"1.2\x00"
    return opening * depth + closing * depth + uid


def test_nesting_costs_no_stack() -> None:
    assert header.scan(nested(20000), EXPLICIT).study_instance_uid == "1.2"


def test_a_deflated_bomb_is_inflated_only_so_far() -> None:
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = b"".join(deflater.compress(b"\x00" * (1 << 20)) for _ in range(64)) + deflater.flush()
    assert header.scan(bomb, DEFLATED) == header.ScannedHead(complete=True)


@given(
    data=st.binary(max_size=400), syntax=st.sampled_from(ENCODINGS), cut=st.integers(0, 2000), at=st.integers(0, 300)
)
@example(data=b"\xfe\xff\x0d\xe0" * 10, syntax=EXPLICIT, cut=0, at=0)
@settings(max_examples=300, deadline=None)
def test_any_bytes_at_all_are_scanned_without_an_error(data: bytes, syntax: str, cut: int, at: int) -> None:
    good = encoded(thorny(), syntax)[:cut]
    for hostile in (data, good + data, good[:at] + data + good[at:]):
        found = header.scan(hostile, syntax, last=True)
        assert found.complete
        assert all(len(value) <= 256 for value in (found.modality, found.study_instance_uid, found.sop_class_uid))


@given(data=st.binary(max_size=600), prefix=st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_file_at_all_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, prefix: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.dcm"
    path.write_bytes((b"\x00" * 128 + b"DICM" if prefix else b"") + data)
    with contextlib.suppress(BadInput):
        header.read(path)


@pytest.mark.parametrize("uid", ["", "1.2 3", "../../etc", "1" * 65, "1.2\\3", "1.2\x00", "흉부"])
def test_an_unusable_uid_is_named(uid: str) -> None:
    with pytest.raises(UnusableIdentity, match="Series Instance UID"):
        header.require_usable("1.2", uid, "1.3")


def test_usable_uids_pass_even_when_they_are_no_uids() -> None:
    header.require_usable("1.2", "A-free".replace("-", "."), "9" * 64)


def test_the_real_chest_reads_as_dcmdump_shows_it() -> None:
    head = header.read(REAL / "RG1_J2KI.dcm")
    assert (head.modality, head.body_part_examined, head.view_position) == ("CR", "CHEST", "PA")
    assert head.patient_orientation == ("L", "F")
    assert head.image_type == ("DERIVED", "PRIMARY")
    assert (head.rows, head.columns, head.number_of_frames, head.has_pixel_data) == (1955, 1841, 1, True)
    assert (head.patient_id, head.patient_birth_date, head.study_date) == ("9RG1", "19400305", "20040826")
    assert head.transfer_syntax_uid == "1.2.840.10008.1.2.4.91"
    assert "CompressedSamples" not in repr(head)


@pytest.mark.parametrize("name", [
    "RG1_J2KI.dcm", "cxr.dcm", "dx_image.dcm", "sr_document.dcm", "ct_image.dcm", "image_dfl",
])
def test_reading_agrees_with_pydicom(name: str) -> None:
    head, image = header.read(REAL / name), dcmread(REAL / name)
    pairs = {
        "SOPClassUID": head.sop_class_uid, "SOPInstanceUID": head.sop_instance_uid, "Modality": head.modality,
        "StudyInstanceUID": head.study_instance_uid, "SeriesInstanceUID": head.series_instance_uid,
        "PatientID": head.patient_id, "AccessionNumber": head.accession_number, "PatientAge": head.patient_age,
        "SeriesDescription": head.series_description, "StudyDate": head.study_date, "Manufacturer": head.manufacturer,
    }
    assert pairs == {keyword: str(image.get(keyword, "") or "") for keyword in pairs}
    assert head.has_pixel_data == ("PixelData" in image)


@pytest.mark.parametrize("option", ["+ti", "+te", "+tb", "+td"], ids=["implicit", "explicit", "big", "deflated"])
def test_every_encoding_written_by_dcmtk_reads_the_same(tmp_path: Path, option: str) -> None:
    source = REAL / "dx_image.dcm"
    subprocess.run(["dcmconv", option, str(source), str(tmp_path / "other.dcm")], check=True, capture_output=True)
    first, other = header.read(source), header.read(tmp_path / "other.dcm")
    assert replace(other, transfer_syntax_uid=first.transfer_syntax_uid) == first


def test_declared_korean_is_decoded() -> None:
    assert header.read(REAL / "chrKoreanMulti.dcm").patient_name == "김희중"


def test_undeclared_korean_is_recognised_in_descriptions(tmp_path: Path) -> None:
    path = write(radiograph(FLAT, StudyDescription="CHEST.VIEW"), tmp_path / "image.dcm")
    path.write_bytes(path.read_bytes().replace(b"CHEST.VIEW", "흉부 정면 ".encode("cp949")))
    assert header.read(path).study_description == "흉부 정면"


def test_an_undecodable_identifier_is_empty_and_a_description_keeps_what_can_be_read(tmp_path: Path) -> None:
    image = radiograph(FLAT, PatientID="AAAA", StudyDescription="THORAX BBBB")
    path = write(image, tmp_path / "image.dcm")
    path.write_bytes(path.read_bytes().replace(b"AAAA", b"\xff\xfe\x81 ").replace(b"BBBB", b"\xff\xfe\x81 "))
    head = header.read(path)
    assert head.patient_id == ""
    assert head.study_description.startswith("THORAX")


@pytest.mark.parametrize("inside", [b"\x00", b"\n", b"\x1b", b"\x7f", b"\xc2\x85"])
def test_an_identifier_with_a_control_character_is_none_and_a_description_goes_without_it(
    tmp_path: Path, inside: bytes
) -> None:
    identifiers = {"PatientID": "ID......CD", "AccessionNumber": "AN......CD", "StudyDate": "DA......CD"}
    path = write(radiograph(FLAT, StudyDescription="SD......CD", **identifiers), tmp_path / "image.dcm")
    path.write_bytes(path.read_bytes().replace(b"......", inside.ljust(6, b"x")))
    head = header.read(path)
    assert (head.patient_id, head.accession_number, head.study_date) == ("", "", "")
    assert re.fullmatch("SD x+CD", head.study_description)


def test_padding_by_nul_and_space_is_dropped_wherever_it_stands(tmp_path: Path) -> None:
    path = write(radiograph(FLAT, PatientID="......", StudyDate="20260101"), tmp_path / "image.dcm")
    path.write_bytes(path.read_bytes().replace(b"......", b"\x00AB \x00\x00"))
    assert header.read(path).patient_id == "AB"


@pytest.mark.parametrize("value", [b"AB\x00CD", b"A\tB", b"\\ud800", b"\xff\xfe\x00\xd8", "가\x85".encode()])
@pytest.mark.parametrize("character_set", ["", "ISO_IR 192", "ISO_IR 100", "unicode_escape", "utf_16_le"])
@pytest.mark.parametrize("strict", [True, False])
def test_every_text_can_be_kept_in_a_database(value: bytes, character_set: str, strict: bool) -> None:
    text = texts.decoded(value, character_set, strict=strict)
    assert not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text)


def test_values_of_the_wrong_kind_are_empty(tmp_path: Path) -> None:
    image = radiograph(FLAT)
    image.add_new("NumberOfFrames", "LO", "1A")
    image.add_new("AnatomicRegionSequence", "LO", "no sequence")
    head = header.read(write(image, tmp_path / "image.dcm"))
    assert (head.number_of_frames, head.anatomic_region_code) == (1, "")


@pytest.mark.parametrize(("keep", "there"), [(0, False), (1, True)])
def test_pixel_data_is_there_when_it_has_a_value(tmp_path: Path, keep: int, there: bool) -> None:
    stored = b"\x01\x02" * keep
    path = write(radiograph(FLAT, PixelData=stored), tmp_path / "image.dcm")
    assert header.read(path).has_pixel_data is there


def test_an_icon_is_no_pixel_data(tmp_path: Path) -> None:
    image = radiograph(FLAT)
    image.IconImageSequence = [radiograph(FLAT)]
    del image.PixelData
    assert not header.read(write(image, tmp_path / "image.dcm")).has_pixel_data


def test_deep_nesting_and_missing_delimiters_do_not_hide_the_head(tmp_path: Path) -> None:
    assert header.read(REAL / "TC0277_missing_delim.dcm").modality == "CT"
    path = write(radiograph(FLAT), tmp_path / "image.dcm")
    start = path.read_bytes().index(struct.pack("<HH2s", 0x0008, 0x0016, b"UI"))
    path.write_bytes(path.read_bytes()[:start] + nested(5000)[:-12] + path.read_bytes()[start:])
    assert header.read(path).study_instance_uid == "1.2.3.2"


def test_a_rejection_note_names_its_title_and_what_it_rejects(tmp_path: Path) -> None:
    title, study, series, one, other = Dataset(), Dataset(), Dataset(), Dataset(), Dataset()
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = "113001", "DCM", "Rejected for Quality Reasons"
    one.ReferencedSOPInstanceUID, other.ReferencedSOPInstanceUID = "1.2.1", "1.2.2"
    series.ReferencedSOPSequence = [one, other]
    study.ReferencedSeriesSequence = [series]
    note = radiograph(FLAT, PixelData=None, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.59", Modality="KO",
                      ConceptNameCodeSequence=[title], CurrentRequestedProcedureEvidenceSequence=[study, study])
    head = header.read(write(note, tmp_path / "note.dcm"))
    assert head.document_title == ("DCM", "113001")
    assert head.referenced_sop_instance_uids == ("1.2.1", "1.2.2", "1.2.1", "1.2.2")
    assert header.read(REAL / "sr_document.dcm").document_title == ("DCM", "126000")


def test_device_uids_come_from_the_root_and_from_contributing_equipment(tmp_path: Path) -> None:
    equipment = [Dataset(), Dataset(), Dataset()]
    equipment[0].DeviceUID, equipment[2].DeviceUID = "2.25.2", "2.25.1"
    image = radiograph(FLAT, DeviceUID="2.25.1", ContributingEquipmentSequence=equipment)
    assert header.read(write(image, tmp_path / "image.dcm")).device_uids == ("2.25.1", "2.25.2")


def test_the_view_may_be_stated_as_a_code(tmp_path: Path) -> None:
    view = Dataset()
    view.CodeValue, view.CodingSchemeDesignator, view.CodeMeaning = "272479007", "SCT", "postero-anterior"
    image = radiograph(FLAT, ViewPosition=None, ViewCodeSequence=[view])
    assert header.read(write(image, tmp_path / "image.dcm")).view_position == "PA"


def test_a_veterinary_program_is_a_species() -> None:
    assert header.read(REAL / "dx_image.dcm").patient_species_description == "canine"


def test_what_is_no_dicom_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear colleague, " * 50)
    (tmp_path / "empty.dcm").touch()
    for name in ("letter.txt", "empty.dcm"):
        with pytest.raises(Undecodable, match=name):
            header.read(tmp_path / name)
    with pytest.raises(StorageError, match=r"gone\.dcm"):
        header.read(tmp_path / "gone.dcm")


@pytest.mark.parametrize("option", ["+ti", "+te", "+tb", "+td"], ids=["implicit", "explicit", "big", "deflated"])
@pytest.mark.parametrize("name", ["ct_image.dcm", "cxr.dcm", "examples_palette.dcm"])
def test_the_digest_does_not_depend_on_the_native_encoding(tmp_path: Path, name: str, option: str) -> None:
    subprocess.run(["dcmconv", option, str(REAL / name), str(tmp_path / name)], check=True, capture_output=True)
    assert header.pixel_digest(tmp_path / name) == header.pixel_digest(REAL / name)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_the_digest_does_not_depend_on_lossless_compression(tmp_path: Path, syntax: str) -> None:
    image = dcmread(REAL / "ct_image.dcm")
    image.compress(syntax, generate_instance_uid=False)
    image.save_as(tmp_path / "other.dcm")
    assert header.pixel_digest(tmp_path / "other.dcm") == header.pixel_digest(REAL / "ct_image.dcm")


def test_one_changed_pixel_changes_the_digest(tmp_path: Path) -> None:
    image = dcmread(REAL / "ct_image.dcm")
    changed = bytearray(image.PixelData)
    changed[-2] ^= 1
    image.PixelData = bytes(changed)
    image.save_as(tmp_path / "other.dcm")
    assert header.pixel_digest(tmp_path / "other.dcm") != header.pixel_digest(REAL / "ct_image.dcm")


def test_the_digest_ignores_the_head_and_covers_pixels_that_do_not_decode(tmp_path: Path) -> None:
    image = dcmread(REAL / "JPEG2000-embedded-sequence-delimiter.dcm")
    image.StationName = "ELSEWHERE"
    image.save_as(tmp_path / "other.dcm")
    digests = {header.pixel_digest(path) for path in (
        tmp_path / "other.dcm", REAL / "JPEG2000-embedded-sequence-delimiter.dcm", REAL / "MR_truncated.dcm")}
    assert len(digests) == 2


@pytest.mark.parametrize("option", ["+ti", "+te", "+tb", "+td"], ids=["implicit", "explicit", "big", "deflated"])
def test_another_native_encoding_holds_the_same_pixels(tmp_path: Path, option: str) -> None:
    source = REAL / "ct_image.dcm"
    subprocess.run(["dcmconv", option, str(source), str(tmp_path / "other.dcm")], check=True, capture_output=True)
    assert header.same_pixels(source, tmp_path / "other.dcm")
    assert (pixels.encoded_digest(source) == pixels.encoded_digest(tmp_path / "other.dcm")) is (option != "+tb")


def test_lossless_compression_holds_the_same_pixels_until_one_changes(tmp_path: Path) -> None:
    image = dcmread(REAL / "ct_image.dcm")
    image.compress(JPEGLSLossless, generate_instance_uid=False)
    image.save_as(tmp_path / "compressed.dcm")
    assert header.same_pixels(REAL / "ct_image.dcm", tmp_path / "compressed.dcm")
    image.decompress(generate_instance_uid=False)
    image.PixelData = image.PixelData[:-2] + b"\x01\x02"
    image.save_as(tmp_path / "changed.dcm")
    assert not header.same_pixels(REAL / "ct_image.dcm", tmp_path / "changed.dcm")


def test_the_same_bytes_read_in_another_way_are_other_pixels(tmp_path: Path) -> None:
    wide = write(radiograph(np.arange(8, dtype=np.uint8).reshape(2, 4)), tmp_path / "wide.dcm")
    tall = write(radiograph(np.arange(8, dtype=np.uint8).reshape(4, 2)), tmp_path / "tall.dcm")
    assert not header.same_pixels(wide, tall)


def test_what_declares_more_than_is_decoded_is_compared_as_it_is_encoded(tmp_path: Path) -> None:
    huge = {"Rows": 65535, "Columns": 65535, "NumberOfFrames": 10**9}
    one = write(radiograph(FLAT, **huge, PixelData=b"\x01\x02"), tmp_path / "one.dcm")
    again = write(radiograph(FLAT, **huge, PixelData=b"\x01\x02", StationName="ELSEWHERE"), tmp_path / "again.dcm")
    other = write(radiograph(FLAT, **huge, PixelData=b"\x01\x03"), tmp_path / "other.dcm")
    assert pixels.too_large(one)
    assert header.same_pixels(one, again)
    assert not header.same_pixels(one, other)
    assert header.pixel_digest(one) != header.pixel_digest(other)


def test_pixels_behind_a_deflated_bomb_are_not_inflated_and_not_taken_for_the_same(tmp_path: Path) -> None:
    files = [tmp_path / "one.dcm", tmp_path / "other.dcm"]
    for file, last in zip(files, (b"\x01", b"\x02"), strict=True):
        image = dcmread(write(radiograph(FLAT, PixelData=b"\x01\x02\x03" + last), file))
        image.add_new(0x00090010, "LO", "SOMEONE")
        image.add_new(0x00091001, "OB", bytes(65 << 20))
        image.file_meta.TransferSyntaxUID = DEFLATED
        image.save_as(file)
    assert pixels.too_large(files[0])
    assert header.same_pixels(files[0], files[0])
    assert not header.same_pixels(*files)


@pytest.mark.parametrize(("program", "reason"), [
    ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended with -11"),
    ("import signal; signal.pause()", "no end after"),
    ("raise SystemExit(1)", "ended with 1"),
])
def test_a_decoder_that_crashes_or_hangs_ends_alone_and_says_nothing_is_the_same(
    caplog: pytest.LogCaptureFixture, program: str, reason: str
) -> None:
    decoding = (sys.executable, "-c", program)
    assert not same_decoded(REAL / "ct_image.dcm", REAL / "ct_image.dcm", decoding, seconds=0.5)
    assert reason in caplog.text


def test_decoding_for_a_comparison_has_little_memory() -> None:
    probe = ("from node.header import __main__ as child; from pathlib import Path; real = Path(sys.argv[1]); "
             "child.main(str(real), str(real)); bytearray(5 << 30)")
    done = subprocess.run([sys.executable, "-c", f"import sys; {probe}", str(REAL / "ct_image.dcm")],
                          capture_output=True, text=True, check=False)
    assert (done.stdout, "MemoryError" in done.stderr) == ("same", True)


def test_documents_have_one_digest_as_only_their_heads_can_differ() -> None:
    assert header.pixel_digest(REAL / "report_dfl") == header.pixel_digest(REAL / "sr_document.dcm")


def test_every_frame_counts(tmp_path: Path) -> None:
    image = dcmread(REAL / "SC_rgb_rle_16bit_2frame.dcm")
    image.decompress()
    changed = bytearray(image.PixelData)
    changed[-1] ^= 1
    image.PixelData = bytes(changed)
    image.save_as(tmp_path / "other.dcm")
    assert header.pixel_digest(tmp_path / "other.dcm") != header.pixel_digest(REAL / "SC_rgb_rle_16bit_2frame.dcm")


@pytest.mark.parametrize("change", [
    {"patient_name": "DRAWN^ONE"}, {"study_description": "Chest"}, {"transfer_syntax_uid": "1.2.840.10008.1.2.5"},
    {"manufacturer": "Someone"}, {"study_time": "1200"}, {"patient_id": "D1 "},
])
def test_a_coerced_head_is_no_update(tmp_path: Path, change: dict[str, str]) -> None:
    head = header.read(write(radiograph(FLAT), tmp_path / "image.dcm"))
    assert header.changed_attributes(head, replace(head, **change)) == ()  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [
    {"patient_id": "D2"}, {"accession_number": "A2"}, {"laterality": "R"}, {"patient_orientation": ("R", "F")},
    {"patient_birth_date": "19500101"}, {"patient_sex": "M"}, {"view_position": "AP"}, {"issuer_of_patient_id": "X"},
    {"study_instance_uid": "9.9"}, {"series_instance_uid": "9.8"},
])
def test_identity_order_and_laterality_make_an_update(tmp_path: Path, change: dict[str, str]) -> None:
    head = header.read(write(radiograph(FLAT), tmp_path / "image.dcm"))
    assert header.changed_attributes(head, replace(head, **change)) == tuple(change)  # type: ignore[arg-type]

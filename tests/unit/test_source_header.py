"""What is taken over from a source image: verbatim, or empty, never altered."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydicom.dataset import Dataset

from node.errors import UnusableIdentity
from sr_writer import checks, measurement_report, source_header, text_report
from sr_writer.verbatim import is_decodable, text_element, values
from tests.tools.bad_headers import BAD_HEADERS, BadHeader, private, raw, without
from tests.tools.sr_samples import identity_for, result_for, small_cr

each_header = pytest.mark.parametrize("header", BAD_HEADERS, ids=lambda header: header.name)


@each_header
def test_an_attribute_is_copied_verbatim_or_not_at_all(header: BadHeader) -> None:
    copied = source_header.evidence(header.source())
    for keyword, wanted in header.expected.items():
        assert (keyword in copied) == (wanted is not None)
        assert values(copied, keyword) == (wanted or ())


@each_header
def test_no_header_stops_a_report(header: BadHeader) -> None:
    source = header.source()
    result = result_for(source)
    for number, build in enumerate((measurement_report.build, text_report.build)):
        report = build(result, source, [source], identity_for(result, number))
        assert checks.check(report, source) == ()


@each_header
def test_all_type_2_attributes_are_there(header: BadHeader) -> None:
    copied = source_header.evidence(header.source())
    for keyword in (*source_header.IDENTITY, *source_header.REQUIRED):
        assert keyword in copied


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
@pytest.mark.parametrize("value", [b"", b"../etc", b"1.2\\1.3", b"1" * 65])
def test_only_unusable_uids_are_refused(keyword: str, value: bytes) -> None:
    source = BadHeader("bad UID", raw(**{keyword: value})).source()
    with pytest.raises(UnusableIdentity, match=keyword):
        source_header.refuse_unusable(source)


def test_uids_of_letters_and_leading_zeros_are_usable() -> None:
    source_header.refuse_unusable(BadHeader("odd", raw(StudyInstanceUID=b"1.02.ABC")).source())


def test_private_elements_and_pixels_are_not_copied() -> None:
    source = BadHeader("private", private).source()
    source.PixelData = b"\0\0"
    copied = source_header.evidence(source)
    assert "PixelData" not in copied and not any(element.tag.is_private for element in copied)


def test_the_zone_is_the_sources_or_none() -> None:
    zone = source_header.offset(BadHeader("zone", raw(TimezoneOffsetFromUTC=b"-0330")).source())
    assert zone is not None and zone.utcoffset(None) == -timedelta(hours=3, minutes=30)
    assert source_header.offset(BadHeader("none", without("TimezoneOffsetFromUTC")).source()) is None


def test_a_request_has_all_its_attributes() -> None:
    source = small_cr()
    (request,) = source_header.requests(source)
    assert request.AccessionNumber == source.AccessionNumber
    assert request.StudyInstanceUID == source.StudyInstanceUID
    for keyword in (
        "ReferencedStudySequence",
        "PlacerOrderNumberImagingServiceRequest",
        "FillerOrderNumberImagingServiceRequest",
        "RequestedProcedureID",
        "RequestedProcedureDescription",
        "RequestedProcedureCodeSequence",
    ):
        assert keyword in request


def test_without_accession_number_and_requested_procedure_there_is_no_request() -> None:
    source = BadHeader("none", without("AccessionNumber", "RequestedProcedureID", "RequestAttributesSequence")).source()
    assert source_header.requests(source) == []


def test_every_request_of_a_grouped_study_is_named() -> None:
    source = small_cr()
    source.RequestAttributesSequence = [Dataset(), Dataset()]
    for number, item in enumerate(source.RequestAttributesSequence):
        item.RequestedProcedureID = f"RP-{number}"
        item.AccessionNumber = f"ACC-{number}"
    made = source_header.requests(source)
    assert [(item.AccessionNumber, item.RequestedProcedureID) for item in made] == [
        ("ACC-0", "RP-0"),
        ("ACC-1", "RP-1"),
    ]


def test_half_an_issuer_is_left_out() -> None:
    source = small_cr()
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = "RIS"
    issuer.add(text_element("UniversalEntityID", ["bad\ufffd"]))
    source.IssuerOfAccessionNumberSequence = [issuer]
    assert "IssuerOfAccessionNumberSequence" not in source_header.evidence(source)


def test_a_sequence_in_place_of_a_text_counts_as_absent() -> None:
    source = small_cr()
    del source.PatientID
    source.add_new("PatientID", "SQ", [Dataset()])
    assert source_header.evidence(source).PatientID == ""


@pytest.mark.parametrize(
    ("text", "codecs", "decodable"),
    [
        ("ABC", (), True),
        ("é", (), False),
        ("é", ("latin_1",), True),
        ("홍", ("euc_kr",), True),
        ("é", ("euc_kr",), False),
        ("a\ufffd", ("UTF8",), False),
        ("a\x85", ("latin_1",), False),
    ],
)
def test_a_text_is_trusted_when_its_declared_set_can_say_it(
    text: str, codecs: tuple[str, ...], decodable: bool
) -> None:
    assert is_decodable(text, codecs) is decodable

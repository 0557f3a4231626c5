"""Headers of source images as they come in real life, with what a report may take over from each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from struct import pack

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.tag import Tag

from tests.tools.sr_samples import small_cr

Change = Callable[[Dataset], dict[str, bytes]]
"""Changes the header in place, and returns the bytes of attributes to write as they are."""


@dataclass(frozen=True)
class BadHeader:
    """A change to a good header. ``expected`` has the values a report must carry by keyword, None for left out.

    ``complaints`` are the keywords a validator may complain about, because they are kept verbatim.
    """

    name: str
    change: Change
    expected: dict[str, tuple[str, ...] | None] = field(default_factory=dict)
    complaints: tuple[str, ...] = ()

    def data(self) -> bytes:
        """The changed header as it is sent, in Explicit VR Little Endian."""
        head = small_cr()
        texts = self.change(head)
        parts = {int(element.tag): _written(element) for element in head}
        for keyword, value in texts.items():
            tag = Tag(tag_for_keyword(keyword) or 0)
            padded = value + b" " * (len(value) % 2)
            parts[int(tag)] = pack("<HH2sH", tag.group, tag.element, dictionary_VR(tag).encode(), len(padded)) + padded
        return b"".join(part for _, part in sorted(parts.items()))

    def source(self) -> Dataset:
        """The same, read from its bytes."""
        return read_dataset(BytesIO(self.data()), is_implicit_VR=False, is_little_endian=True)


def _written(element: DataElement) -> bytes:
    alone = Dataset()
    alone.add(element)
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = False, True
    write_dataset(stream, alone)
    return stream.getvalue()


def without(*keywords: str) -> Change:
    """Attributes the sender left out."""

    def change(head: Dataset) -> dict[str, bytes]:
        for keyword in keywords:
            if keyword in head:
                del head[keyword]
        return {}

    return change


def raw(charset: str | None = "ISO_IR 100", **texts: bytes) -> Change:
    """Bytes as the sender wrote them, whatever the VR says, under the Specific Character Set ``charset``."""

    def change(head: Dataset) -> dict[str, bytes]:
        del head.SpecificCharacterSet
        return texts if charset is None else dict(texts, SpecificCharacterSet=charset.encode())

    return change


def private(head: Dataset) -> dict[str, bytes]:
    """A private block."""
    head.private_block(0x0009, "ACME", create=True).add_new(1, "LO", "secret")
    return {}


def ordered(head: Dataset) -> dict[str, bytes]:
    """A modality worklist's request."""
    request = Dataset()
    request.RequestedProcedureID = "RP-1"
    request.RequestedProcedureDescription = "Chest"
    head.RequestAttributesSequence = [request]
    del head.AccessionNumber
    return {}


def issued(head: Dataset) -> dict[str, bytes]:
    """Issuers of the identifiers."""
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = "RIS"
    head.IssuerOfAccessionNumberSequence = [issuer]
    head.IssuerOfPatientID = "HOSPITAL A"
    return {}


KOREAN = "Hong^Gildong=洪^吉洞=홍^길동"
KOREAN_ESCAPED = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"
JAPANESE_ESCAPED = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
LONG = b"A" * 30

BAD_HEADERS = (
    BadHeader("nothing wrong", without(), {"PatientID": ("77654033",), "PatientName": ("Doe^Archibald",)}),
    BadHeader("no Patient ID", without("PatientID"), {"PatientID": ()}),
    BadHeader("no Accession Number and Study ID", without("AccessionNumber", "StudyID"), {"AccessionNumber": ()}),
    BadHeader("no birth date and sex", without("PatientBirthDate", "PatientSex"), {"PatientSex": ()}),
    BadHeader("sex U", raw(PatientSex=b"U"), {"PatientSex": ()}),
    BadHeader("sex in words", raw(PatientSex=b"male"), {"PatientSex": ()}),
    BadHeader("no study date", without("StudyDate", "StudyTime"), {"StudyDate": (), "StudyTime": ()}),
    BadHeader("dotted date", raw(StudyDate=b"2004.08.26"), {"StudyDate": ()}),
    BadHeader("30 February", raw(StudyDate=b"20040230"), {"StudyDate": ()}),
    BadHeader("date of zeros", raw(PatientBirthDate=b"0000"), {"PatientBirthDate": ()}),
    BadHeader("time with colons", raw(StudyTime=b"12:30:00"), {"StudyTime": ()}),
    BadHeader("time to the minute", raw(StudyTime=b"1230"), {"StudyTime": ("1230",)}),
    BadHeader(
        "Study UID with a leading zero",
        raw(StudyInstanceUID=b"1.2.410.0200.5"),
        {"StudyInstanceUID": ("1.2.410.0200.5",)},
        ("StudyInstanceUID",),
    ),
    BadHeader(
        "image UIDs with leading zeros",
        raw(SOPInstanceUID=b"1.2.410.05", SeriesInstanceUID=b"1.2.410.06"),
        {},
        ("ReferencedSOPInstanceUID", "SeriesInstanceUID"),
    ),
    BadHeader(
        "long Accession Number", raw(AccessionNumber=LONG), {"AccessionNumber": ("A" * 30,)}, ("AccessionNumber",)
    ),
    BadHeader("two Patient IDs", raw(PatientID=b"A\\B"), {"PatientID": ("A", "B")}, ("PatientID",)),
    BadHeader("Patient ID with leading space", raw(PatientID=b" 0042"), {"PatientID": (" 0042",)}),
    BadHeader(
        "Patient ID with a control character", raw(PatientID=b"A\x01B"), {"PatientID": ("A\x01B",)}, ("PatientID",)
    ),
    BadHeader("name of 80 letters", raw(PatientName=b"N" * 80), {"PatientName": ("N" * 80,)}, ("PatientName",)),
    BadHeader(
        "Korean, ISO 2022 IR 149", raw("\\ISO 2022 IR 149", PatientName=KOREAN_ESCAPED), {"PatientName": (KOREAN,)}
    ),
    BadHeader(
        "Japanese, ISO 2022 IR 87", raw("\\ISO 2022 IR 87", PatientName=JAPANESE_ESCAPED), {"PatientName": (JAPANESE,)}
    ),
    BadHeader(
        "Chinese, GB18030", raw("GB18030", PatientName="王^小东".encode("gb18030")), {"PatientName": ("王^小东",)}
    ),
    BadHeader("undeclared EUC-KR", raw(None, PatientName="홍^길동".encode("euc_kr")), {"PatientName": ()}),
    BadHeader("undeclared EUC-KR in the ID", raw(None, PatientID="홍1".encode("euc_kr")), {"PatientID": ()}),
    BadHeader("undeclared escapes", raw(None, PatientName=KOREAN_ESCAPED), {"PatientName": ()}),
    BadHeader("undeclared Latin-1", raw(None, PatientName=b"M\xfcller^J\xf6rg"), {"PatientName": ()}),
    BadHeader("declared Latin-1", raw(PatientName=b"M\xfcller^J\xf6rg"), {"PatientName": ("Müller^Jörg",)}),
    BadHeader(
        "EUC-KR beside its declared escapes",
        raw("\\ISO 2022 IR 149", PatientName=b"\xc8\xab^\xb1"),
        {"PatientName": ()},
    ),
    BadHeader("broken UTF-8", raw("ISO_IR 192", PatientName=b"\xed\x99\x8d\xff^A"), {"PatientName": ()}),
    BadHeader("unknown character set", raw("ISO_IR 999", PatientName=b"\xc8\xab^A"), {"PatientName": ()}),
    BadHeader("escape in the name", raw(PatientName=b"DOE\x1b^JOHN"), {"PatientName": ()}),
    BadHeader("description of 64 000 letters", raw(StudyDescription=b"D" * 64000), {"StudyDescription": None}),
    BadHeader("description with backslashes", raw(StudyDescription=b"C:\\X\\Y"), {"StudyDescription": None}),
    BadHeader("description with a line break", raw(StudyDescription=b"one\r\ntwo"), {"StudyDescription": None}),
    BadHeader("two referring physicians", raw(ReferringPhysicianName=b"A^B\\C^D"), {"ReferringPhysicianName": ()}),
    BadHeader("age in years without padding", raw(PatientAge=b"45Y"), {"PatientAge": None}),
    BadHeader("pixel spacing of zero", raw(PixelSpacing=b"0\\0", ImagerPixelSpacing=b"0\\0")),
    BadHeader("no modality", without("Modality", "Manufacturer", "BodyPartExamined")),
    BadHeader("private elements", private),
    BadHeader("time zone", raw(TimezoneOffsetFromUTC=b"+0900"), {"TimezoneOffsetFromUTC": ("+0900",)}),
    BadHeader("time zone in letters", raw(TimezoneOffsetFromUTC=b"KST"), {"TimezoneOffsetFromUTC": None}),
    BadHeader("time zone -0000", raw(TimezoneOffsetFromUTC=b"-0000"), {"TimezoneOffsetFromUTC": None}),
    BadHeader(
        "de-identified",
        raw(PatientIdentityRemoved=b"YES", DeidentificationMethod=b"one\\two"),
        {"PatientIdentityRemoved": ("YES",), "DeidentificationMethod": ("one", "two")},
    ),
    BadHeader("a requested procedure instead of an accession number", ordered, {"AccessionNumber": ()}),
    BadHeader("issuers", issued, {"IssuerOfPatientID": ("HOSPITAL A",)}),
)

"""A stored Part 10 file's head as plain texts and numbers, whatever state the file is in."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node.domain import ImageHead
from node.errors import StorageError, Undecodable
from node.header.elements import (
    DEFLATED,
    EXPLICIT_LITTLE,
    Buffer,
    Element,
    Encoding,
    encoding_of,
    item_encoding,
    items,
    walk,
)
from node.header.scanning import inflated
from node.header.texts import decoded, plain

PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
"""Float, Double Float and Pixel Data (PS3.3 C.7.6.3, C.7.6.24, C.7.6.25)."""
INFLATED_AT_MOST = 64 << 20
LONGEST_TEXT = 4096
MOST_ITEMS = 10000
HUMAN = frozenset({"337915000", "L-85B00"})
"""Homo sapiens in SCT and its retired SRT form (CID 7454)."""
FRONTAL_VIEWS = {"272479007": "PA", "R-10214": "PA", "399348003": "AP", "R-10206": "AP"}
"""Of CID 4010, with the retired SRT codes."""
ANIMALS = re.compile(r"\b(CANINE|FELINE|EQUINE|BOVINE|VETERINARY)\b", re.IGNORECASE)


class DataSet:
    """Values of one data set or item by tag, decoded when asked for; the first of two equal tags counts.

    ``size`` is the bytes it was given; ``whole`` says that its elements are, up to and with Pixel Data.
    """

    def __init__(self, data: Buffer, encoding: Encoding, start: int, end: int, character_set: str = "") -> None:
        self._data, self._encoding = data, encoding
        self._elements: dict[int, Element] = {}
        self.has_pixel_data = False
        self.size, reached = end - start, start
        for element in walk(data, encoding, start, end):
            self._elements.setdefault(element.tag, element)
            reached = element.end
            if element.tag in PIXELS:
                self.has_pixel_data = min(element.end, len(data)) > element.start
                self.whole = element.end <= end
                break
        else:
            self.whole = end - 8 < reached <= end  # fewer bytes than the smallest element are padding
        self.character_set = self.text(0x00080005) or character_set

    def raw(self, tag: int) -> bytes:
        """The value's bytes; none where the element is absent, cut off or longer than any text may be."""
        element = self._elements.get(tag)
        if element is None or element.undefined or element.end > len(self._data):
            return b""
        return bytes(self._data[element.start : element.end]) if element.end - element.start <= LONGEST_TEXT else b""

    def text(self, tag: int) -> str:
        """A text of the default repertoire, verbatim but for its padding; '' where it is not one."""
        return plain(self.raw(tag))

    def words(self, tag: int, *, strict: bool = False) -> str:
        """A text that Specific Character Set applies to; see :func:`node.header.texts.decoded`."""
        return decoded(self.raw(tag), self.character_set, strict=strict)

    def values(self, tag: int) -> tuple[str, ...]:
        """The values of a multi-valued text."""
        value = self.text(tag)
        return tuple(part.strip() for part in value.split("\\")) if value else ()

    def unsigned(self, tag: int) -> int:
        """A value of VR US; 0 where it is not one."""
        value = self.raw(tag)
        return int.from_bytes(value, "little" if self._encoding.little_endian else "big") if len(value) == 2 else 0

    def integer(self, tag: int) -> int:
        """A value of VR IS that is not negative; 0 where it is not one."""
        text = self.text(tag)
        return int(text) if text.isdigit() and len(text) <= 12 else 0

    def chunks(self, tags: frozenset[int], size: int) -> Iterator[bytes]:
        """The value of the first element of ``tags`` as it is encoded, ``size`` bytes at a time."""
        for tag in tags & self._elements.keys():
            element = self._elements[tag]
            end = min(element.end, len(self._data))
            for begin in range(element.start, end, size):
                yield bytes(self._data[begin : min(begin + size, end)])

    def items(self, tag: int) -> Iterator[DataSet]:
        """The items of a sequence; none where the element is absent or no sequence."""
        sequence = self._elements.get(tag)
        if sequence is None:
            return
        inner = item_encoding(sequence, self._encoding)
        for count, (start, end) in enumerate(items(self._data, sequence, self._encoding)):
            if count >= MOST_ITEMS:
                return
            yield DataSet(self._data, inner, start, end, self.character_set)

    def code(self, tag: int) -> tuple[str, str]:
        """Coding Scheme Designator and Code Value of the first item."""
        for item in self.items(tag):
            return item.text(0x00080102), item.text(0x00080100)
        return "", ""


def read(path: Path) -> ImageHead:
    """Everything the rules need to know of a stored instance; pixels are not touched.

    A value that is wrong for its attribute, cut off, or in an undeclared character set that cannot be
    told is empty; nesting of any depth is passed over.

    Raises:
        Undecodable: the file holds no data set, or one without any of the identifying UIDs.
        StorageError: the file cannot be opened.
    """
    with stored(path) as (meta, data_set):
        head = _head(meta, data_set)
    if not (head.sop_class_uid or head.sop_instance_uid or head.study_instance_uid):
        raise Undecodable(f"{path.name} holds no DICOM data set: SOP Class, SOP Instance and Study UID are missing")
    return head


@contextmanager
def stored(path: Path) -> Iterator[tuple[DataSet, DataSet]]:
    """File meta information and data set of a Part 10 file; usable only inside the ``with``.

    Raises: as :func:`read`.
    """
    with _mapped(path) as data:
        yield _split(data)


def _mapped(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError as error:
        raise Undecodable(f"{path.name} is empty") from error
    except OSError as error:
        raise StorageError(f"{path.name}: cannot be read ({error.strerror}); look at node.data_dir") from error


def _split(data: mmap.mmap) -> tuple[DataSet, DataSet]:
    begin = 132 if data[128:132] == b"DICM" else 0
    end = begin
    for element in walk(data, EXPLICIT_LITTLE, begin):
        if element.tag >> 16 != 0x0002 or element.end > len(data):
            break
        end = element.end
    meta = DataSet(data, EXPLICIT_LITTLE, begin, end)
    transfer_syntax_uid = meta.text(0x00020010)
    body: Buffer = data
    if transfer_syntax_uid in DEFLATED:
        body, _ = inflated(data[end:], INFLATED_AT_MOST)
        end = 0
    encoding = encoding_of(body[end : end + 8], transfer_syntax_uid)
    return meta, DataSet(body, encoding, end, len(body))


def _head(meta: DataSet, data: DataSet) -> ImageHead:
    return ImageHead(
        sop_class_uid=data.text(0x00080016) or meta.text(0x00020002),
        sop_instance_uid=data.text(0x00080018) or meta.text(0x00020003),
        study_instance_uid=data.text(0x0020000D),
        series_instance_uid=data.text(0x0020000E),
        transfer_syntax_uid=meta.text(0x00020010),
        modality=data.text(0x00080060),
        body_part_examined=data.text(0x00180015),
        anatomic_region_code=data.code(0x00082218)[1],
        view_position=data.text(0x00185101) or _view(data),
        laterality=data.text(0x00200062) or data.text(0x00200060),
        patient_orientation=data.values(0x00200020),
        image_type=data.values(0x00080008),
        presentation_intent_type=data.text(0x00080068),
        photometric_interpretation=data.text(0x00280004),
        rows=data.unsigned(0x00280010),
        columns=data.unsigned(0x00280011),
        number_of_frames=data.integer(0x00280008) or 1,
        has_pixel_data=data.has_pixel_data,
        study_description=data.words(0x00081030),
        series_description=data.words(0x0008103E),
        patient_id=data.words(0x00100020, strict=True),
        issuer_of_patient_id=data.words(0x00100021, strict=True),
        patient_name=data.words(0x00100010),
        patient_birth_date=data.text(0x00100030),
        patient_sex=data.text(0x00100040),
        patient_age=data.text(0x00101010),
        patient_species_description=_species(data),
        quality_control_subject=data.text(0x00100200),
        accession_number=data.words(0x00080050, strict=True),
        study_date=data.text(0x00080020),
        study_time=data.text(0x00080030),
        requested_procedure_priority=_order_priority(data),
        indication=_indication(data),
        instance_number=data.text(0x00200013),
        manufacturer=data.words(0x00080070),
        burned_in_annotation=data.text(0x00280301),
        device_uids=_device_uids(data),
        document_title=data.code(0x0040A043),
        referenced_sop_instance_uids=tuple(_evidence(data)),
    )


def _view(data: DataSet) -> str:
    """View Code Sequence in the terms of View Position; DX may state only the code."""
    for item in data.items(0x00540220):
        code = item.text(0x00080100)
        return FRONTAL_VIEWS.get(code) or item.words(0x00080104).upper()
    return ""


def _species(data: DataSet) -> str:
    """What kind of animal, '' where nothing says so; a veterinary program of the modality says so too."""
    for item in data.items(0x00100202):
        if code := item.text(0x00080100):
            return "Homo sapiens" if code in HUMAN else item.words(0x00080104) or code
    stated = data.words(0x00102201) or data.words(0x00102292)
    program = ANIMALS.search(data.words(0x00181400))
    return stated or (program.group().lower() if program else "")


def _order_priority(data: DataSet) -> str:
    asked = (item.text(0x00401003) for item in data.items(0x00400275))
    return data.text(0x00401003) or next(filter(None, asked), "")


def _indication(data: DataSet) -> str:
    """Reason for the Requested Procedure, of the image or its request, else the retired Reason for Study, else
    Admitting Diagnoses Description."""
    asked = (item.words(0x00401002) for item in data.items(0x00400275))
    return data.words(0x00401002) or next(filter(None, asked), "") or data.words(0x00321030) or data.words(0x00081080)


def _device_uids(data: DataSet) -> tuple[str, ...]:
    found = [data.text(0x00181002), *(item.text(0x00181002) for item in data.items(0x0018A001))]
    return tuple(dict.fromkeys(filter(None, found)))


def _evidence(data: DataSet) -> Iterator[str]:
    """Referenced SOP Instance UIDs of Current Requested Procedure Evidence Sequence (PS3.3 C.17.2.2)."""
    for study in data.items(0x0040A375):
        for series in study.items(0x00081115):
            for instance in series.items(0x00081199):
                if uid := instance.text(0x00081155):
                    yield uid

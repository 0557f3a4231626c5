"""Reading texts of a foreign data set as they are, or not at all.

"Verbatim" is a matter of characters, because our objects are UTF-8 whatever the source was: the text as decoded
with the character set that the source declares (PS3.5 6.1). A text the declared set cannot have produced, such as
EUC-KR bytes without a declaration, would be guesswork and is not copied.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

from pydicom import config
from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items
from pydicom.valuerep import PersonName

logger = logging.getLogger(__name__)

Valid = Callable[[str], bool]

#: What pydicom raises for bytes that do not fit their VR, an unknown VR, or a broken item.
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, NotImplementedError, OverflowError, EOFError)
#: A value of a short explicit VR has a 16-bit length: a longer one cannot be written under it (PS3.5 7.1.2).
_LONGEST_VALUE = 65534
#: No declared set gives these: what is left of an escape sequence, C1 controls, pydicom's mark of undecodable bytes.
_NOT_TEXT = re.compile(r"[\x1b\x80-\x9f\ufffd]")


def element(keyword: str, value: object) -> DataElement:
    """A data element written as it is: a copied value may break its VR, and that is not ours to judge."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE)


def text_element(keyword: str, texts: Sequence[str]) -> DataElement:
    """An element with these values; no values make it empty."""
    named = dictionary_VR(keyword) == "PN"
    parts = [PersonName(text) if named else text for text in texts]
    return element(keyword, parts[0] if len(parts) == 1 else parts or "")


def _read(source: Dataset, keyword: str) -> Any:
    try:
        return source.get(keyword)
    except _UNREADABLE:
        return None


def values(source: Dataset, keyword: str) -> tuple[str, ...]:
    """The decoded values; () when the attribute is absent, empty, or cannot be read under its VR."""
    value = _read(source, keyword)
    if value is None or isinstance(value, bytes | Items):
        return ()
    texts = tuple(str(part) for part in (value if isinstance(value, MultiValue) else (value,)))
    return texts if any(texts) else ()


def items(source: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """Items of a sequence; () when it is absent or cannot be read as one."""
    value = _read(source, keyword)
    return tuple(value) if isinstance(value, Items) else ()


def encodings(source: Dataset) -> tuple[str, ...]:
    """Python codecs of the declared Specific Character Set, the default repertoire (ASCII) left out."""
    declared = list(values(source, "SpecificCharacterSet"))
    return tuple(name for name in convert_encodings(declared or None) if name != default_encoding)


def is_decodable(text: str, codecs: Sequence[str]) -> bool:
    """True when every character can have come out of one of ``codecs`` or of the default repertoire."""
    if _NOT_TEXT.search(text):
        return False
    return all(char.isascii() or any(_encodes(char, codec) for codec in codecs) for char in text)


def _encodes(char: str, codec: str) -> bool:
    try:
        char.encode(codec)
    except UnicodeEncodeError:
        return False
    return True


def copyable(
    source: Dataset, keyword: str, valid: Valid | None = None, *, codecs: Sequence[str], several: bool = False
) -> tuple[str, ...]:
    """The values as they may be copied; () when there are none or they cannot be kept verbatim.

    Without ``valid`` the attribute is identity: any decodable text of writable length is kept, several values
    included. ``several`` allows them for a descriptive attribute too.
    """
    found = values(source, keyword)
    if not found:
        return ()
    why = _objection(found, valid, codecs, several=several or valid is None)
    if why:
        logger.info("%s of the source is not copied: %s", keyword, why, extra={"action": "attribute_left_out"})
        return ()
    return found


def _objection(found: tuple[str, ...], valid: Valid | None, codecs: Sequence[str], *, several: bool) -> str:
    if len(found) > 1 and not several:
        return "it has several values"
    if valid is not None and not all(map(valid, found)):
        return "it is not valid"
    if not all(is_decodable(text, codecs) for text in found):
        return "its bytes do not fit the declared character set"
    return "it is too long" if len("\\".join(found).encode()) > _LONGEST_VALUE else ""

"""Texts of a data set in the character set it declares, or in the one it most likely meant."""

from __future__ import annotations

import re
import warnings

from pydicom.charset import convert_encodings, decode_bytes

DELIMITERS = {ord(sign) for sign in "\\^=\r\n\t\f"}
"""Return to the initial character set (PS3.5 section 6.1.2.5.3)."""
UNDECLARED = ("utf-8", "cp949")
"""Tried strictly where a data set with other than ASCII bytes declares nothing: what Korean senders leave out."""
UNUSABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters and halves of surrogate pairs: no text of a head means them, and databases refuse them."""


def decoded(value: bytes, character_set: str, *, strict: bool) -> str:
    """``value`` as text without its padding and without :data:`UNUSABLE` characters.

    Where it cannot be decoded, or has such a character inside, ``strict`` (identifiers) gives '' as two
    of them must never look alike; else the readable part is kept.
    """
    text = _text(value.strip(b"\x00 "), character_set)
    if strict:
        return "" if "\ufffd" in text or UNUSABLE.search(text) else text
    return UNUSABLE.sub(" ", text).strip()


def plain(value: bytes) -> str:
    """A text of the default repertoire without its padding; '' where it is not one."""
    text = value.decode("ascii").strip("\x00 ") if value.isascii() else ""
    return "" if UNUSABLE.search(text) else text


def _text(value: bytes, character_set: str) -> str:
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    return _declared(value, character_set) if character_set.strip("\\ ") else _guessed(value)


def _declared(value: bytes, character_set: str) -> str:
    terms = [term.strip() for term in character_set.split("\\")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return decode_bytes(value, convert_encodings(terms), DELIMITERS).strip()
        except (LookupError, ValueError):
            return value.decode("ascii", errors="replace")


def _guessed(value: bytes) -> str:
    for encoding in UNDECLARED:
        try:
            return value.decode(encoding)
        except UnicodeDecodeError:
            continue
    return value.decode("ascii", errors="replace")

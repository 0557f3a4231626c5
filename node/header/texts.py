"""Texts of a data set in the character set it declares, or in the one it most likely meant."""

from __future__ import annotations

import re
import warnings

from pydicom.charset import convert_encodings, decode_bytes

DELIMITERS = {ord(sign) for sign in "\\^=\r\n\t\f"}
"""Return to the initial character set (PS3.5 section 6.1.2.5.3)."""
UNDECLARED = ("utf-8", "cp949")
"""Tried strictly where a data set with other than ASCII bytes declares nothing: what Korean senders leave out."""


def decoded(value: bytes, character_set: str, *, strict: bool) -> str:
    """``value`` as text without its padding, and without NUL, which no text holds and PostgreSQL does not take.

    Where it cannot be decoded, ``strict`` (identifiers) gives '', else the readable part is kept.
    """
    value = value.replace(b"\x00", b"").strip(b" ")
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    text = _declared(value, character_set) if character_set.strip("\\ ") else _guessed(value)
    return "" if strict and "\ufffd" in text else text


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

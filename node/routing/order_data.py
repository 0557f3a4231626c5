"""What of a head a model may be told besides the images: age, sex and indication. No name, no identifier, no date."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

from node.domain import ImageHead, OrderData
from node.routing.dates import age_of

SEXES = {"M": "male", "F": "female", "O": "other"}
"""Patient's Sex (PS3.3 C.7.1.1), spelled out."""
REMOVED = "…"
LONGEST = 2000
"""Characters of an indication that are looked at; Reason for the Requested Procedure may have 64."""
OLDEST = 120
MONTHS = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
DATES = re.compile(
    rf"\b\d{{1,4}}\s*[-./년]\s*\d{{1,2}}\s*[-./월]\s*\d{{1,4}}\s*일?|\d{{1,2}}\s*월\s*\d{{1,2}}\s*일"
    rf"|\b\d{{1,2}}(?:st|nd|rd|th)?\s+{MONTHS}(?:\s+\d{{2,4}})?\b|\b{MONTHS}\s+\d{{1,2}}\b(?:,?\s+\d{{4}})?",
    re.IGNORECASE)
NUMBERS = re.compile(r"[A-Za-z]{0,3}[-#]?\d[\d-]{4,}\d")
"""Six digits and more, with what stands before them: an identifier, a telephone number, a date without marks."""
LEAST_NAME, LEAST_ID = 2, 3
"""Characters; what is shorter occurs in other words."""


def order_data(head: ImageHead, today: date) -> OrderData:
    """What a head says of patient and order. The age is in whole years, 90 and over is 90."""
    age = age_of(head, today)
    return OrderData(
        age_years=min(age, 90) if age is not None and age <= OLDEST else None,
        sex=SEXES.get(head.patient_sex.strip().upper(), ""), indication=without_identity(head.indication, head))


def without_identity(text: str, head: ImageHead) -> str:
    """``text`` without the patient's name and identifiers, without dates and long numbers."""
    text = text[:LONGEST]
    for secret in sorted(set(_secrets(head)), key=len, reverse=True):
        boundary = r"\b" if secret.isascii() else ""
        text = re.sub(f"{boundary}{re.escape(secret)}{boundary}", REMOVED, text, flags=re.IGNORECASE)
    return NUMBERS.sub(REMOVED, DATES.sub(REMOVED, text)).strip()


def _secrets(head: ImageHead) -> Iterator[str]:
    """Identifiers, and the name in each of its writings (PS3.5 section 6.2, PN): in parts, and in one word."""
    yield from (told for told in (head.patient_id, head.issuer_of_patient_id, head.accession_number)
                if len(told) >= LEAST_ID)
    for writing in head.patient_name.split("="):
        parts = [part for part in re.split(r"[\^\s,]+", writing) if part]
        yield from (part for part in ("".join(parts), *parts) if len(part) >= LEAST_NAME)

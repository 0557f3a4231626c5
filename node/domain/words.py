"""JSON, coded entries and the notices that are stamped on objects."""

from __future__ import annotations

from typing import Any, NamedTuple

JSON = dict[str, Any]
"""A JSON object: str, int, float, bool, None, and lists and dicts of these."""

DEMO_NOTICE = "SYNTHETIC DEMO MODEL, NOT FOR CLINICAL USE"
RESEARCH_NOTICE = "RESEARCH USE ONLY"


class CodedConcept(NamedTuple):
    """A coded entry (PS3.3 section 8): Coding Scheme Designator, Code Value, Code Meaning."""

    scheme: str
    code: str
    meaning: str

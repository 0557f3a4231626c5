"""What a rule may look at, and what it may answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from node.domain import (
    Eligibility,
    Findings,
    ImageHead,
    Priority,
    Side,
    StudyFinding,
    Verdict,
)
from node.guardrails.wordlists import Words


class Judgement(NamedTuple):
    """A rule's answer. ``reason`` never repeats what the model wrote: it leaves the node where the text may not."""

    verdict: Verdict
    reason: str = ""


PASSED = Judgement(Verdict.PASS)


def withheld(reason: str) -> Judgement:
    """Nothing the model wrote may leave, when there is a reason."""
    return Judgement(Verdict.WITHHOLD, reason) if reason else PASSED


def flagged(reason: str) -> Judgement:
    """A reader must see the reason beside the text, when there is one."""
    return Judgement(Verdict.FLAG, reason) if reason else PASSED


@dataclass(frozen=True, kw_only=True)
class Identifiers:
    """Names and numbers of the patient that no text may hold. They are compared with, never stored or logged."""

    names: tuple[str, ...] = field(default=(), repr=False)
    numbers: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, head: ImageHead) -> Identifiers:
        """Those of a header: each component of each component group of the name, and what the patient is booked by."""
        names = [part for part in re.split(r"[\^=\\]", head.patient_name) if part.strip()]
        numbers = (head.patient_id, head.accession_number, head.patient_birth_date)
        return cls(names=tuple(part.strip() for part in names), numbers=tuple(one.strip() for one in numbers if one))


@dataclass(frozen=True, kw_only=True)
class Case:
    """One answer of the findings model beside triage, with what is known of its study."""

    words: Words
    compared: Sequence[StudyFinding]
    findings: Findings | None
    eligibility: Eligibility
    #: Which side of the image is which.
    side_known: bool
    #: Side of the body that was imaged, of a paired part; NONE where the header does not say.
    imaged_side: Side = Side.NONE
    #: Side of the box that the model drew around a finding, by finding key.
    box_sides: Mapping[str, Side] = field(default_factory=dict)
    #: What the model was told: no answer repeats it.
    prompts: tuple[str, ...] = ()
    #: RFC 5646 tag of the language asked for.
    language: str = "en"
    #: An earlier study was shown along with this one.
    has_prior: bool = False
    #: The model was shown how large a pixel is.
    measures: bool = False
    identifiers: Identifiers = Identifiers()
    #: What triage raised the study to; None when it raised nothing.
    ai_priority: Priority | None = None
    #: Why no image was eligible; '' when one was.
    declined: str = ""

    @property
    def fields(self) -> tuple[str, ...]:
        """All that would leave the node in the model's own words, apart."""
        return (self.findings.impression, self.findings.recommendation) if self.findings else ()

    @property
    def text(self) -> str:
        """The same together."""
        return "\n".join(self.fields)

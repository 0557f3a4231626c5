"""The forms of an answer, as types: what a model may say and what that means in the keys of the prompt sets."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, Protocol, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from node.domain import (
    Certainty,
    Change,
    Criterion,
    Finding,
    FindingChange,
    Presence,
    Side,
    Urgency,
)
from node.inference.answer_schema import Named


class _Names(Protocol):
    @property
    def finding(self) -> str: ...


_About = TypeVar("_About", bound=_Names)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What an answer of any form says, in the keys of the prompt sets."""

    findings: tuple[Finding, ...] = ()
    impression: str
    recommendation: str = ""
    urgency: Urgency | None = None
    changes: tuple[FindingChange, ...] = ()
    criteria: Mapping[str, Criterion] = field(default_factory=dict)


def _plain(value: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Cs", "Co", "Cn") for character in value):
        raise ValueError("control or unassigned characters")
    return value


def _said(value: str) -> str:
    if not value.strip():
        raise ValueError("blank")
    return value


def _each_once(value: tuple[_About, ...]) -> tuple[_About, ...]:
    if len({one.finding for one in value}) != len(value):
        raise ValueError("a finding occurs twice")
    return value


Impression = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_plain), AfterValidator(_said)]
Recommendation = Annotated[str, Field(max_length=1000), AfterValidator(_plain)]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Statement(Part):
    """One finding in the model's words."""

    finding: Named
    presence: Literal["present", "absent", "undetermined"]
    side: Literal["left", "right", "both", "none"]
    certainty: Literal["definite", "probable", "possible"]

    def value(self, vocabulary: Mapping[str, str]) -> Finding:
        """The same with the finding's key."""
        return Finding(
            finding=vocabulary[self.finding],
            presence=Presence(self.presence),
            side=Side.NONE if self.side == "none" else Side(self.side),
            certainty=Certainty(self.certainty),
        )


class Answer(Part):
    """A whole answer. Lengths are checked here and not in the grammar, where they cost minutes to compile."""

    findings: Annotated[tuple[Statement, ...], Field(max_length=32, strict=False), AfterValidator(_each_once)]
    impression: Impression
    recommendation: Recommendation

    def names(self) -> Iterator[str]:
        """Its words that have to be of the vocabulary."""
        return (statement.finding for statement in self.findings)

    def told(self, vocabulary: Mapping[str, str]) -> Told:
        """What it says."""
        return Told(findings=tuple(statement.value(vocabulary) for statement in self.findings),
                    impression=self.impression, recommendation=self.recommendation)


class Report(Answer):
    """A report says how soon somebody should look as well."""

    urgency: Literal["routine", "urgent", "emergency"]

    def told(self, vocabulary: Mapping[str, str]) -> Told:
        """What it says."""
        return replace(super().told(vocabulary), urgency=Urgency(self.urgency))


Assessed = Literal["present", "absent", "not assessable"]


class Abcde(Answer):
    """Asymmetry, irregular border, several colours, large diameter and evolution of a skin lesion."""

    asymmetry: Assessed
    border: Assessed
    color: Assessed
    diameter: Assessed
    evolution: Assessed

    def told(self, vocabulary: Mapping[str, str]) -> Told:
        """What it says."""
        named = {"asymmetry": self.asymmetry, "border": self.border, "color": self.color,
                 "diameter": self.diameter, "evolution": self.evolution}
        return replace(super().told(vocabulary), criteria={name: Criterion(word) for name, word in named.items()})


class Graded(Part):
    """One grade; an image that cannot be graded has none."""

    gradable: Literal["yes", "no"]
    grade: Named
    certainty: Literal["definite", "probable", "possible"]
    impression: Impression
    recommendation: Recommendation

    def names(self) -> Iterator[str]:
        """Its word that has to be of the vocabulary."""
        return iter((self.grade,))

    def told(self, vocabulary: Mapping[str, str]) -> Told:
        """What it says: the grade as a finding that is present."""
        grade = Finding(finding=vocabulary[self.grade], presence=Presence.PRESENT, side=Side.NONE,
                        certainty=Certainty(self.certainty))
        return Told(findings=(grade,) if self.gradable == "yes" else (), impression=self.impression,
                    recommendation=self.recommendation)


class Changed(Part):
    """What became of one finding."""

    finding: Named
    change: Literal["better", "same", "worse"]


class Comparison(Part):
    """An earlier image and the current one, finding by finding."""

    changes: Annotated[tuple[Changed, ...], Field(max_length=32, strict=False), AfterValidator(_each_once)]
    impression: Impression

    def names(self) -> Iterator[str]:
        """Its words that have to be of the vocabulary."""
        return (changed.finding for changed in self.changes)

    def told(self, vocabulary: Mapping[str, str]) -> Told:
        """What it says."""
        return Told(impression=self.impression, changes=tuple(
            FindingChange(finding=vocabulary[one.finding], change=Change(one.change)) for one in self.changes))

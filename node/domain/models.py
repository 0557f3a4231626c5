"""Who speaks and what is asked: model identities, operating points, prompt sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from node.domain.states import EvidenceLevel, Presence, Priority
from node.domain.words import CodedConcept


@dataclass(frozen=True, kw_only=True)
class ModelIdentity:
    """Which model spoke. Two runs with equal ``sha256`` are the same device.

    ``sha256`` covers weights, processor, prompt set and operating points (hex);
    ``device_uid`` is derived from it and names the device in every object. ``engine`` says in words what runs it.
    """

    name: str
    version: str
    sha256: str
    device_uid: str
    demo: bool = False
    engine: str = ""


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """Two cut-offs on a score in 0..1: present at or above, absent below; between is undetermined."""

    present_above: float
    absent_below: float

    def presence(self, score: float) -> Presence:
        """Where ``score`` (0..1) falls."""
        if score >= self.present_above:
            return Presence.PRESENT
        return Presence.ABSENT if score < self.absent_below else Presence.UNDETERMINED


@dataclass(frozen=True, kw_only=True)
class Eligibility:
    """What a prompt set may be shown. Ages in years; an empty list allows anything but what has to be named."""

    modalities: tuple[str, ...]
    body_parts: tuple[str, ...]
    views: tuple[str, ...]
    minimum_age_years: int


@dataclass(frozen=True, kw_only=True)
class PromptFinding:
    """One finding of a prompt set: concept, prompt ensemble, priority when present."""

    key: str
    concept: CodedConcept
    site: CodedConcept
    lateralised: bool
    priority: Priority
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    nominal: OperatingPoint
    #: Where the nominal cut-offs come from, as a citation; empty where nobody says.
    nominal_source: str = ""
    evidence: EvidenceLevel = EvidenceLevel.SITE
    #: What was published about it, figure and place.
    published: str = ""
    #: Names for people by language tag (RFC 5646).
    names: Mapping[str, str] = field(default_factory=dict)
    #: Other words for the same: they must not turn the score round, and are not part of it.
    paraphrase_positive: tuple[str, ...] = ()
    paraphrase_negative: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class GateDomain:
    """One kind of picture that may come: ``name`` follows "looks like" in a reason."""

    key: str
    name: str
    prompts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Which kinds of picture the model may speak about, judged by the model's own view of them.

    The best accepted kind has to lead every other kind by ``margin`` (of scores in 0..1 that sum to 1).
    """

    accepted: tuple[str, ...]
    margin: float
    domains: tuple[GateDomain, ...]


@dataclass(frozen=True, kw_only=True)
class ReviewRule:
    """When a score leaves so much open that a person has to look first; None leaves a part out."""

    #: From this binary entropy of the score on, in bits (0..1; 1 is a score of one half).
    entropy_above: float | None = None
    #: Nearer than this to one of the two cut-offs.
    margin_below: float | None = None


@dataclass(frozen=True, kw_only=True)
class PromptSet:
    """A versioned list of findings with prompts; ``sha256`` is that of its file."""

    name: str
    version: str
    demo: bool
    eligibility: Eligibility
    resize: str
    aggregate: str
    findings: tuple[PromptFinding, ...]
    sha256: str
    gate: Gate | None = None
    review: ReviewRule | None = None
    #: Micrometres per pixel at which tiles of whole slides are shown: 2.0 is 5x, 1.0 is 10x, 0.5 is 20x.
    microns: float = 1.0
    #: Where small images lie that the model must tell apart; the file need not exist.
    probes: Path | None = None

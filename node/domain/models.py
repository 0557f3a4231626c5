"""Who speaks and what is asked: model identities, operating points, prompt sets."""

from __future__ import annotations

from dataclasses import dataclass

from node.domain.states import Presence, Priority
from node.domain.words import CodedConcept


@dataclass(frozen=True, kw_only=True)
class ModelIdentity:
    """Which model spoke. Two runs with equal ``sha256`` are the same device.

    ``sha256`` covers weights, processor, prompt set and operating points (hex);
    ``device_uid`` is derived from it and names the device in every object.
    """

    name: str
    version: str
    sha256: str
    device_uid: str
    demo: bool = False


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
    """What a prompt set may be shown. Ages in years; an empty list allows anything."""

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


@dataclass(frozen=True, kw_only=True)
class FindingsPrompt:
    """What the findings model is asked. ``instruction`` follows the image."""

    name: str
    version: str
    demo: bool
    system: str | None
    instruction: str
    max_new_tokens: int
    sha256: str

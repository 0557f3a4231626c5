"""What was found: scores, findings, what the rules said, and all of it together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from node.domain.asking import Change, Criterion, Urgency
from node.domain.instances import EvidenceImage
from node.domain.models import ModelIdentity, OperatingPoint
from node.domain.states import Certainty, Presence, Priority, Side, Verdict
from node.domain.words import CodedConcept


@dataclass(frozen=True, kw_only=True)
class ImageScore:
    """What a triage model says about one image, all of it from one forward pass."""

    #: In 0..1 by finding key; a rank, not a probability.
    scores: Mapping[str, float]
    #: The L2-normalised image vector, float16, little endian.
    embedding: bytes
    #: In 0..1 by domain key; empty where the prompt set has no gate.
    gate: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FindingScore:
    """Triage's answer for one finding of the prompt set. ``score`` is a rank in 0..1, not a probability."""

    finding: str
    concept: CodedConcept
    site: CodedConcept
    presence: Presence
    score: float | None
    operating_point: OperatingPoint | None
    priority: Priority
    sop_instance_uid: str = ""
    frame: int = 1
    #: Of a slide; 0 where the image is a frame.
    tile: int = 0
    #: Nobody showed that the model can see it: on the board, and in no object.
    board_only: bool = False
    #: Names for people by language tag.
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TriageResult:
    """Scores of a study (or, early, of one image) by one model identity and prompt set."""

    model: ModelIdentity
    prompt_set: str
    scores: tuple[FindingScore, ...]
    aggregate: str
    #: No operating point is valid for this model: nothing is raised, sent or notified.
    shadow: bool
    #: Nominal points were used because ``models.allow_unvalidated`` is set.
    unvalidated: bool = False


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One finding as the findings model wrote it."""

    finding: str
    presence: Presence
    side: Side
    certainty: Certainty


@dataclass(frozen=True, kw_only=True)
class FindingChange:
    """What became of one finding since the earlier image, as the findings model wrote it."""

    finding: str
    change: Change


@dataclass(frozen=True, kw_only=True)
class Findings:
    """A validated answer of the findings model. What its form has no place for is empty."""

    model: ModelIdentity
    prompt: str
    findings: tuple[Finding, ...]
    impression: str
    recommendation: str
    urgency: Urgency | None = None
    changes: tuple[FindingChange, ...] = ()
    #: Of the five ABCDE criteria, by name.
    criteria: Mapping[str, Criterion] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class GuardrailOutcome:
    """What one named rule said about a result."""

    rule: str
    verdict: Verdict
    reason: str = ""
    #: Of the rule.
    version: str = ""


@dataclass(frozen=True, kw_only=True)
class StudyFinding:
    """One finding of a study after triage, findings and guardrails were put side by side."""

    finding: str
    concept: CodedConcept
    site: CodedConcept
    presence: Presence
    score: float | None
    operating_point: OperatingPoint | None
    side: Side
    certainty: Certainty | None
    #: False when the findings model said otherwise than triage; shown, never hidden.
    agreed: bool | None
    sop_instance_uid: str = ""
    reason: str = ""
    frame: int = 1
    tile: int = 0
    board_only: bool = False
    #: Names for people by language tag.
    names: Mapping[str, str] = field(default_factory=dict)

    def name(self, language: str) -> str:
        """What people call it; the meaning of its code where the prompt set has no name in that language."""
        return self.names.get(language) or self.concept.meaning


@dataclass(frozen=True, kw_only=True)
class AnalysisResult:
    """Everything one run has to say about a study: the only input of the report writers besides the source header."""

    study_instance_uid: str
    version: int
    priority: Priority
    findings: tuple[StudyFinding, ...]
    evidence: tuple[EvidenceImage, ...]
    triage_model: ModelIdentity
    findings_model: ModelIdentity | None
    prompt_set: str
    aggregate: str
    impression: str
    recommendation: str
    #: Sentences a reader must see, such as a visible mark or a disagreement.
    remarks: tuple[str, ...]
    #: Stamps on every object, such as the demo notice.
    notices: tuple[str, ...]
    started_at: datetime
    unvalidated: bool = False

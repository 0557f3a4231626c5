"""What the node talks about: frozen data and closed sets, named with the words of DICOM.

Standard library and numpy only, so that every layer may import it. Data is never
changed in place; a change makes a new value with :func:`dataclasses.replace`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

JSON = dict[str, Any]
"""A JSON object: str, int, float, bool, None, and lists and dicts of these."""

DEMO_NOTICE = "SYNTHETIC DEMO MODEL, NOT FOR CLINICAL USE"
RESEARCH_NOTICE = "RESEARCH USE ONLY"


class CodedConcept(NamedTuple):
    """A coded entry (PS3.3 section 8): Coding Scheme Designator, Code Value, Code Meaning."""

    scheme: str
    code: str
    meaning: str


class Lane(Enum):
    """How a study is treated from the moment it arrives."""

    FRESH = "fresh"
    #: Study Date is older than ``study.historical_hours``: idle capacity only, no priority.
    HISTORICAL = "historical"
    #: Asked for by us as an earlier study: kept, never analysed.
    PRIOR = "prior"


class Priority(IntEnum):
    """Place in the worklist and in every job queue. The value is the job number: low runs first."""

    STAT = 10
    HIGH = 20
    ROUTINE = 50
    HISTORICAL = 90

    @classmethod
    def higher(cls, one: Priority, other: Priority) -> Priority:
        """The more urgent of two. AI only raises, so this is the only way they are combined."""
        return min(one, other)


class Presence(Enum):
    """Qualitative answer per finding; the first three are CID 240 of PS3.16."""

    PRESENT = "present"
    ABSENT = "absent"
    #: Between the two cut-offs, or no operating point is valid for this model.
    UNDETERMINED = "undetermined"
    NOT_EVALUABLE = "not_evaluable"


class Side(Enum):
    """Laterality of a finding, as the patient's own left and right."""

    LEFT = "left"
    RIGHT = "right"
    BOTH = "both"
    #: Not lateralised, not said, or withheld because the orientation is not known.
    NONE = ""


class Certainty(Enum):
    """Wording the findings model chose; never raised by agreement between models."""

    DEFINITE = "definite"
    PROBABLE = "probable"
    POSSIBLE = "possible"


class InstanceState(Enum):
    """What became of a received instance."""

    #: Durable and acknowledged; not looked at yet.
    RECEIVED = "received"
    ACCEPTED = "accepted"
    #: The same pixels again in another encoding or with a coerced header; the first is kept.
    DUPLICATE = "duplicate"
    #: Changed identity, order or laterality: the run gets a new version.
    UPDATE = "update"
    #: Same UID, other pixels: kept in quarantine.
    CONFLICT = "conflict"
    #: One of our own objects coming back.
    ECHO = "echo"
    #: Replaced by an update: not evidence any more.
    SUPERSEDED = "superseded"
    #: Named in a rejection note, before or after it came: not evidence.
    REJECTED = "rejected"
    #: Its head cannot be read: kept in quarantine.
    UNREADABLE = "unreadable"


class EntryState(Enum):
    """State of a study on the worklist."""

    RECEIVING = "receiving"
    PROVISIONAL = "provisional"
    CONFIRMED = "confirmed"
    WITHDRAWN = "withdrawn"
    NOT_EVALUABLE = "not_evaluable"
    FAILED = "failed"


class FindingsState(Enum):
    """State of the findings model's answer."""

    PENDING = "pending"
    DONE = "done"
    WITHHELD = "withheld"
    FAILED = "failed"


class ReportState(Enum):
    """State of the objects written for a study version."""

    PENDING = "pending"
    WRITTEN = "written"
    WITHHELD = "withheld"
    FAILED = "failed"


class DeliveryState(Enum):
    """Proof held for one instance at one destination."""

    NONE = "none"
    QUEUED = "queued"
    #: Bytes went out, no answer came.
    SENT = "sent"
    #: C-STORE answered 0x0000, or the instance was found by query.
    STORED = "stored"
    #: N-EVENT-REPORT named the instance as committed.
    COMMITTED = "committed"
    #: No attempt is left: a dead letter until an operator retries or discards it.
    FAILED = "failed"
    #: Given up by an operator.
    DISCARDED = "discarded"


class ReportKind(Enum):
    """Objects the node writes."""

    MEASUREMENT = "measurement_report"
    TEXT = "text_report"


class Verdict(Enum):
    """Outcome of a guardrail."""

    PASS = "pass"
    FLAG = "flag"
    WITHHOLD = "withhold"


class IntendedUse(Enum):
    """What the operator declares the node is used for."""

    RESEARCH = "research"
    CLINICAL = "clinical"


class ReportProfile(Enum):
    """How much of the findings model's output leaves the node."""

    TRIAGE_ONLY = "triage_only"
    TRIAGE_AND_LOCALISE = "triage_and_localise"
    DRAFT_REPORT = "draft_report"


@dataclass(frozen=True, kw_only=True)
class ReceivedInstance:
    """One row of the instance store. ``path`` is relative to ``node.data_dir``."""

    id: int
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    modality: str
    path: str
    size: int
    calling_ae_title: str
    called_ae_title: str
    source_host: str
    received_at: datetime
    state: InstanceState = InstanceState.RECEIVED


@dataclass(frozen=True, kw_only=True)
class Study:
    """One row of the study table. Texts are verbatim; an absent attribute is an empty text."""

    study_instance_uid: str
    patient_id: str = ""
    accession_number: str = ""
    modality: str = ""
    study_date: str = ""
    lane: Lane = Lane.FRESH
    order_priority: Priority = Priority.ROUTINE
    version: int = 0


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
class Transform:
    """One step from stored values to model pixels, with the numbers that were used."""

    name: str
    parameters: JSON = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelImage:
    """One frame as a model sees it, before the model's own resize.

    ``pixels`` is uint8, shape (side, side, 3), zero-padded to square, head-up,
    patient's left on image right where ``side_known``.
    """

    pixels: NDArray[np.uint8]
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    frame: int = 1
    side_known: bool = False
    transforms: tuple[Transform, ...] = ()


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
class Findings:
    """A validated answer of the findings model."""

    model: ModelIdentity
    prompt: str
    findings: tuple[Finding, ...]
    impression: str
    recommendation: str


@dataclass(frozen=True, kw_only=True)
class GuardrailOutcome:
    """What one named rule said about a result."""

    rule: str
    verdict: Verdict
    reason: str = ""


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


@dataclass(frozen=True, kw_only=True)
class EvidenceImage:
    """A source image named in a report: what was fed to a model."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    frame: int = 1


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


@dataclass(frozen=True, kw_only=True)
class ReportObject:
    """One object written by the node. ``path`` is relative to ``node.data_dir``."""

    kind: ReportKind
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    version: int
    path: str


@dataclass(frozen=True, kw_only=True)
class DeliveryReceipt:
    """Proof held for one instance at one destination."""

    sop_instance_uid: str
    study_instance_uid: str
    destination: str
    state: DeliveryState
    attempts: int = 0
    status: int | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class WorklistEntry:
    """One line of the worklist; the JSON form is the contract of ``GET /api/worklist``."""

    study_instance_uid: str
    patient_id: str
    accession_number: str
    modality: str
    lane: Lane
    version: int
    state: EntryState
    reason: str
    order_priority: Priority
    ai_priority: Priority | None
    priority: Priority
    findings: tuple[StudyFinding, ...]
    findings_state: FindingsState
    report_state: ReportState
    delivery: DeliveryState
    waiting_since: datetime
    time_to_flag_ms: int | None
    time_to_notify_ms: int | None
    demo_model: bool


@dataclass(frozen=True, kw_only=True)
class AuditEvent:
    """One thing that happened. ``detail`` holds identifiers and numbers; never names, never datasets."""

    action: str
    study_instance_uid: str = ""
    sop_instance_uid: str = ""
    detail: JSON = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ImageHead:
    """What the head of a received instance says, pixels excluded. Texts are decoded but otherwise verbatim.

    A multi-valued text is joined with a backslash, an absent one is empty. ``patient_name``
    serves the test-patient rule only; it is never stored, logged or sent.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    modality: str = ""
    body_part_examined: str = ""
    anatomic_region_code: str = ""
    view_position: str = ""
    laterality: str = ""
    patient_orientation: tuple[str, ...] = ()
    image_type: tuple[str, ...] = ()
    presentation_intent_type: str = ""
    photometric_interpretation: str = ""
    rows: int = 0
    columns: int = 0
    number_of_frames: int = 1
    has_pixel_data: bool = False
    study_description: str = ""
    series_description: str = ""
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = field(default="", repr=False)
    patient_birth_date: str = ""
    patient_sex: str = ""
    patient_age: str = ""
    patient_species_description: str = ""
    quality_control_subject: str = ""
    accession_number: str = ""
    study_date: str = ""
    study_time: str = ""
    requested_procedure_priority: str = ""
    instance_number: str = ""
    manufacturer: str = ""
    #: DeviceUID of every item of Contributing Equipment Sequence, and of the root.
    device_uids: tuple[str, ...] = ()
    #: Concept Name Code of an SR or KO document's root: (scheme, code), else ("", "").
    document_title: tuple[str, str] = ("", "")
    #: SOP Instance UIDs in Current Requested Procedure Evidence Sequence (KO, SR).
    referenced_sop_instance_uids: tuple[str, ...] = ()


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


@dataclass(frozen=True, kw_only=True)
class ReportIdentity:
    """What a new object is called: all UIDs are made by the caller, so that a rerun is testable.

    ``predecessor`` is the report of the same kind this one replaces.
    """

    sop_instance_uid: str
    series_instance_uid: str
    series_number: int
    tracking_uids: dict[str, str]
    observer_uid: str
    created_at: datetime
    language: str
    software_version: str
    node_uid: str
    ae_title: str
    predecessor: ReportObject | None = None


@dataclass(frozen=True, kw_only=True)
class StoreOutcome:
    """What a destination said to one C-STORE. ``status`` is None when bytes went out and no answer came.

    ``sent`` is False when nothing left, for example because no presentation context was accepted.
    """

    sop_instance_uid: str
    sent: bool
    status: int | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class CommitmentReport:
    """An N-EVENT-REPORT of the Storage Commitment Push Model (PS3.4 J.3.3)."""

    transaction_uid: str
    committed: tuple[str, ...]
    #: SOP Instance UID and Failure Reason (0008,1197).
    failed: tuple[tuple[str, int], ...]

"""What the node talks about: frozen data and closed sets, named with the words of DICOM.

Standard library and numpy only, so that every layer may import it. Data is never
changed in place; a change makes a new value with :func:`dataclasses.replace`.
"""

from node.domain.instances import (
    EvidenceImage,
    ImageHead,
    ModelImage,
    ReceivedInstance,
    Study,
    Transform,
)
from node.domain.models import (
    Eligibility,
    FindingsPrompt,
    ModelIdentity,
    OperatingPoint,
    PromptFinding,
    PromptSet,
)
from node.domain.records import (
    AuditEvent,
    CommitmentReport,
    DeliveryReceipt,
    ReportIdentity,
    ReportObject,
    StoreOutcome,
    WorklistEntry,
)
from node.domain.results import (
    AnalysisResult,
    Finding,
    Findings,
    FindingScore,
    GuardrailOutcome,
    StudyFinding,
    TriageResult,
)
from node.domain.states import (
    Certainty,
    DeliveryState,
    EntryState,
    FindingsState,
    InstanceState,
    IntendedUse,
    Lane,
    Presence,
    Priority,
    ReportKind,
    ReportProfile,
    ReportState,
    Side,
    Verdict,
)
from node.domain.words import (
    DEMO_NOTICE,
    JSON,
    RESEARCH_NOTICE,
    CodedConcept,
)

__all__ = [
    "DEMO_NOTICE",
    "JSON",
    "RESEARCH_NOTICE",
    "AnalysisResult",
    "AuditEvent",
    "Certainty",
    "CodedConcept",
    "CommitmentReport",
    "DeliveryReceipt",
    "DeliveryState",
    "Eligibility",
    "EntryState",
    "EvidenceImage",
    "Finding",
    "FindingScore",
    "Findings",
    "FindingsPrompt",
    "FindingsState",
    "GuardrailOutcome",
    "ImageHead",
    "InstanceState",
    "IntendedUse",
    "Lane",
    "ModelIdentity",
    "ModelImage",
    "OperatingPoint",
    "Presence",
    "Priority",
    "PromptFinding",
    "PromptSet",
    "ReceivedInstance",
    "ReportIdentity",
    "ReportKind",
    "ReportObject",
    "ReportProfile",
    "ReportState",
    "Side",
    "StoreOutcome",
    "Study",
    "StudyFinding",
    "Transform",
    "TriageResult",
    "Verdict",
    "WorklistEntry",
]

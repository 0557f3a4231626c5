"""What is written down and what others answered: reports, receipts, worklist, audit."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from node.domain.results import StudyFinding
from node.domain.states import (
    AnnouncementKind,
    DeliveryState,
    EntryState,
    FindingsState,
    Lane,
    PerformedStepStatus,
    Priority,
    ReportKind,
    ReportState,
)
from node.domain.words import JSON


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


@dataclass(frozen=True, kw_only=True)
class CommitmentRequest:
    """An N-ACTION of the Storage Commitment Push Model (PS3.4 J.3.2): a sender asks for safekeeping."""

    transaction_uid: str
    calling_ae_title: str
    source_host: str
    #: The association it came on.
    association: str
    #: SOP Class and SOP Instance UID, each instance once.
    instances: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class CommitmentVerdict:
    """What a sender is told about its request: every instance is in one of the two."""

    transaction_uid: str
    #: SOP Class and SOP Instance UID.
    committed: tuple[tuple[str, str], ...]
    #: SOP Class UID, SOP Instance UID and Failure Reason (0008,1197).
    failed: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, kw_only=True)
class StepChange:
    """An N-SET on a Modality Performed Procedure Step, and who sent it. ``instances`` None leaves them as they are."""

    sop_instance_uid: str
    status: PerformedStepStatus
    instances: tuple[str, ...] | None
    calling_ae_title: str
    source_host: str
    association: str
    kind: AnnouncementKind = AnnouncementKind.MPPS


@dataclass(frozen=True, kw_only=True)
class Announcement:
    """Instances (by SOP Instance UID) that somebody says belong to studies, and who says so."""

    kind: AnnouncementKind
    sop_instance_uid: str
    status: PerformedStepStatus
    study_instance_uids: tuple[str, ...]
    instances: tuple[str, ...]
    calling_ae_title: str
    source_host: str
    association: str


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

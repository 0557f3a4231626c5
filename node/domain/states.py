"""Closed sets: what a study, an instance, a finding or a delivery can be."""

from __future__ import annotations

from enum import Enum, IntEnum


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
    #: Its file was removed by the retention rules.
    REMOVED = "removed"
    #: Its file is gone, and nobody here removed it.
    MISSING = "missing"


class AnnouncementKind(Enum):
    """How somebody says which instances a study has."""

    #: Modality Performed Procedure Step (PS3.4 annex F).
    MPPS = "mpps"
    #: Instance Availability Notification (PS3.4 annex R).
    IAN = "ian"


class PerformedStepStatus(Enum):
    """Performed Procedure Step Status (0040,0252)."""

    IN_PROGRESS = "IN PROGRESS"
    #: All it made is named. What an availability notification says is complete from the beginning.
    COMPLETED = "COMPLETED"
    #: Ended early: nothing is promised.
    DISCONTINUED = "DISCONTINUED"


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


class CommitmentState(Enum):
    """How far a sender's request for storage commitment is."""

    #: The archive is to be asked, for the first time or again.
    WAITING = "waiting"
    #: The job that asks the archive is on its way.
    ASKING = "asking"
    #: The archive took the request and has not reported yet.
    ASKED = "asked"
    #: What the sender will be told is settled.
    ANSWERED = "answered"
    #: The job that tells the sender is on its way.
    REPORTING = "reporting"
    #: The sender took the report.
    REPORTED = "reported"
    #: The sender could not be told, and nobody tries any more.
    UNREPORTED = "unreported"


class ReportKind(Enum):
    """Objects the node writes."""

    MEASUREMENT = "measurement_report"
    TEXT = "text_report"


class EvidenceLevel(Enum):
    """Who measured how well the model finds something with these prompts."""

    #: The model's maker published a figure for it; a site still has to measure its own cut-offs.
    PUBLISHED = "published"
    #: Whoever runs or ships the prompt set with its checkpoint measured it there.
    SITE = "site"
    #: Nobody: shown on the board only, presence undetermined, no priority, whatever the score.
    NONE = "none"


class HeatMapState(Enum):
    """What became of the heat map of a finding."""

    PENDING = "pending"
    #: It passed its check and may be shown.
    RELIABLE = "reliable"
    #: It was made and says nothing: no reliable localisation.
    UNRELIABLE = "unreliable"
    #: None could be made.
    FAILED = "failed"


class PriorState(Enum):
    """What became of the question for earlier studies of a version."""

    #: The archive is asked, or about to be.
    ASKED = "asked"
    #: It has some that match; they are on their way.
    FOUND = "found"
    #: They are here.
    RECEIVED = "received"
    #: There is none, none that matches, or none could be had.
    NONE = "none"
    #: None came in time.
    TIMED_OUT = "timed_out"


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

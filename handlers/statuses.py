"""DIMSE statuses: the standard's names, what each is answered for, and which of the node's errors means which.

:data:`CAUSES` is the one table: the conformance statement prints it, and a test holds every status to a row.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

from node.errors import (
    AlreadyAnnounced,
    BadInput,
    ClassMismatch,
    NodeError,
    NotAnnounced,
    NotAuthorised,
    OutOfSpace,
    QueryMismatch,
    StepEnded,
    UnusableIdentity,
)

log = logging.getLogger(__name__)


class Status(IntEnum):
    """Service statuses (PS3.7 annex C), those of Storage (PS3.4 table B.2-1) and Query/Retrieve (PS3.4 C.4)."""

    SUCCESS = 0x0000
    #: An attribute has a value that is not allowed, or that cannot be read.
    INVALID_ATTRIBUTE_VALUE = 0x0106
    #: A general failure: disk or database refused, or something nobody expected. Sending again may help.
    PROCESSING_FAILURE = 0x0110
    DUPLICATE_SOP_INSTANCE = 0x0111
    NO_SUCH_SOP_INSTANCE = 0x0112
    NO_SUCH_EVENT_TYPE = 0x0113
    #: Event or Action Information cannot be used, for example a Transaction UID that was never asked for.
    INVALID_ARGUMENT_VALUE = 0x0115
    #: The SOP Instance UID breaks the rules of UIDs.
    INVALID_SOP_INSTANCE = 0x0117
    MISSING_ATTRIBUTE = 0x0120
    MISSING_ATTRIBUTE_VALUE = 0x0121
    #: The command's class is not the one its presentation context was accepted for.
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NO_SUCH_ACTION = 0x0123
    #: Refused: not authorised. The node is not configured to do this for the caller, and will not be by waiting.
    NOT_AUTHORISED = 0x0124
    #: More than the node takes in one request.
    RESOURCE_LIMITATION = 0x0213
    #: Refused: out of resources. Less space than the reserve is left.
    OUT_OF_RESOURCES = 0xA700
    #: Refused: out of resources, unable to calculate number of matches.
    NO_NUMBER_OF_MATCHES = 0xA701
    #: Refused: out of resources, unable to perform sub-operations: none was completed.
    NO_SUB_OPERATION = 0xA702
    #: Refused: Move Destination unknown. It is neither in peers nor in destinations.
    MOVE_DESTINATION_UNKNOWN = 0xA801
    #: Error: data set (of a query: identifier) does not match SOP class.
    DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xA900
    #: Warning: sub-operations complete, one or more failures.
    SUB_OPERATIONS_FAILED = 0xB000
    #: Error: cannot understand. Study, Series or SOP Instance UID is missing or unusable.
    CANNOT_UNDERSTAND = 0xC000
    #: Failed: unable to process, something nobody expected.
    UNABLE_TO_PROCESS = 0xC001
    CANCEL = 0xFE00
    PENDING = 0xFF00
    #: Matches are continuing; one or more optional keys were not supported.
    PENDING_KEYS_UNSUPPORTED = 0xFF01


class Cause(NamedTuple):
    """One line of the table. ``name`` is the standard's for the status in this service, ``cause`` is ours."""

    service: str
    status: Status
    name: str
    cause: str


_MISMATCH = (
    "The identifier is none, its level or unique keys do not fit the information model, or a date or time is none. "
    "Error Comment says which.")
_RETRIEVE = (
    (Status.SUCCESS, "Success", "Every object that was named arrived; or none is."),
    (Status.PENDING, "Pending", "One object more was tried."),
    (Status.CANCEL, "Cancel", "C-CANCEL came; what remains is counted."),
    (Status.SUB_OPERATIONS_FAILED, "Warning: Sub-operations complete, one or more failures",
     "Some objects failed, or were stored with a warning. Failed SOP Instance UID List names those that failed."),
    (Status.NO_NUMBER_OF_MATCHES, "Refused: Out of resources, unable to calculate number of matches",
     "The database or the audit does not answer. Nothing was sent."),
    (Status.NO_SUB_OPERATION, "Refused: Out of resources, unable to perform sub-operations",
     "No object arrived, for example because the destination is away; or more than 65 535 were named."),
    (Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS, "Error: Identifier does not match SOP Class", _MISMATCH),
    (Status.SOP_CLASS_NOT_SUPPORTED, "Refused: SOP Class not supported", "Not the class of the presentation context."),
    (Status.UNABLE_TO_PROCESS, "Failed: Unable to process", "Something nobody expected."),
)

CAUSES: tuple[Cause, ...] = (
    Cause("C-ECHO", Status.SUCCESS, "Success", "Always."),
    Cause("C-STORE", Status.SUCCESS, "Success",
          "The data set, its row and its audit event are on disk. The same SOP Instance again is a Success too. "
          "Nothing is said about pixels."),
    Cause("C-STORE", Status.OUT_OF_RESOURCES, "Refused: Out of resources",
          "Less than `receive.min_free_disk_mb` is free, or the disk is full. Nothing is kept."),
    Cause("C-STORE", Status.PROCESSING_FAILURE, "Failure: Processing failure",
          "Disk or database refused, or something nobody expected. Nothing is kept; sending again may help."),
    Cause("C-STORE", Status.SOP_CLASS_NOT_SUPPORTED, "Refused: SOP Class not supported",
          "The presentation context was not accepted for the class of the command. Nothing is kept."),
    Cause("C-STORE", Status.NOT_AUTHORISED, "Refused: Not authorized",
          "The sender may associate, but is not one of `receive.allowed_peers`. Nothing is kept."),
    Cause("C-STORE", Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS, "Error: Data Set does not match SOP Class",
          "The SOP Class UID of the data set is not that of the command. Nothing is kept."),
    Cause("C-STORE", Status.CANNOT_UNDERSTAND, "Error: Cannot understand",
          "Study, Series or SOP Instance UID cannot be read, or is not 1 to 64 of `[0-9A-Za-z.]`. "
          "The bytes are kept in quarantine."),
    Cause("C-FIND", Status.SUCCESS, "Success", "All matches were sent."),
    Cause("C-FIND", Status.PENDING, "Pending", "A match."),
    Cause("C-FIND", Status.PENDING_KEYS_UNSUPPORTED, "Pending: one or more Optional Keys were not supported",
          "A match; keys were asked for that the node does not keep, and they are empty."),
    Cause("C-FIND", Status.CANCEL, "Cancel", "C-CANCEL came."),
    Cause("C-FIND", Status.OUT_OF_RESOURCES, "Refused: Out of resources",
          "More than 5 000 match, of which so many were sent; or the database or the audit does not answer."),
    Cause("C-FIND", Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS, "Error: Identifier does not match SOP Class", _MISMATCH),
    Cause("C-FIND", Status.SOP_CLASS_NOT_SUPPORTED, "Refused: SOP Class not supported",
          "Not the class of the presentation context."),
    Cause("C-FIND", Status.UNABLE_TO_PROCESS, "Failed: Unable to process", "Something nobody expected."),
    *(Cause(service, *row) for service in ("C-GET", "C-MOVE") for row in _RETRIEVE),
    Cause("C-MOVE", Status.MOVE_DESTINATION_UNKNOWN, "Refused: Move Destination unknown",
          "No entry of `peers` or `destinations` has its AE title."),
    Cause("N-ACTION", Status.SUCCESS, "Success",
          "The request for storage commitment is on record. Nothing is committed by this answer."),
    Cause("N-ACTION", Status.PROCESSING_FAILURE, "Failure: Processing failure",
          "Disk or database refused, or something nobody expected."),
    Cause("N-ACTION", Status.NO_SUCH_SOP_INSTANCE, "Failure: No such SOP Instance",
          "Not the well-known SOP Instance of the Storage Commitment Push Model."),
    Cause("N-ACTION", Status.INVALID_ARGUMENT_VALUE, "Failure: Invalid argument value",
          "The Action Information is missing or cannot be read, a UID in it is missing or unusable, it names no "
          "instance, or its Transaction UID is in use for others."),
    Cause("N-ACTION", Status.NO_SUCH_ACTION, "Failure: No such action", "Another Action Type than 1."),
    Cause("N-ACTION", Status.NOT_AUTHORISED, "Refused: Not authorized",
          "Storage commitment is off, or nothing says where the sender could be told the outcome."),
    Cause("N-CREATE", Status.SUCCESS, "Success",
          "The performed procedure step or availability notification is on record."),
    Cause("N-CREATE", Status.INVALID_ATTRIBUTE_VALUE, "Failure: Invalid attribute value",
          "A UID, a status or an Instance Availability is not allowed; a new step is not IN PROGRESS; "
          "the data set cannot be read."),
    Cause("N-CREATE", Status.PROCESSING_FAILURE, "Failure: Processing failure",
          "The database refused, or something nobody expected."),
    Cause("N-CREATE", Status.DUPLICATE_SOP_INSTANCE, "Failure: Duplicate SOP Instance",
          "A step or notification with this SOP Instance UID is known."),
    Cause("N-CREATE", Status.INVALID_SOP_INSTANCE, "Failure: Invalid SOP Instance",
          "The SOP Instance UID is not 1 to 64 of `[0-9A-Za-z.]`."),
    Cause("N-CREATE", Status.MISSING_ATTRIBUTE, "Failure: Missing attribute",
          "No Scheduled Step Attributes Sequence or status; no Study Instance UID or Referenced Series Sequence."),
    Cause("N-CREATE", Status.MISSING_ATTRIBUTE_VALUE, "Failure: Missing attribute value",
          "One of these is empty, or an item of a sequence has no UID or availability."),
    Cause("N-CREATE", Status.RESOURCE_LIMITATION, "Failure: Resource limitation",
          "More than 100 studies or 100 000 instances are named."),
    Cause("N-SET", Status.SUCCESS, "Success", "What became of the step is on record."),
    Cause("N-SET", Status.INVALID_ATTRIBUTE_VALUE, "Failure: Invalid attribute value",
          "A UID or a status is not allowed, nothing is changed, or the data set cannot be read."),
    Cause("N-SET", Status.PROCESSING_FAILURE, "Failure: Processing failure",
          "The step is completed or discontinued already: Error ID 0xA506. Else the database refused, or something "
          "nobody expected."),
    Cause("N-SET", Status.NO_SUCH_SOP_INSTANCE, "Failure: No such SOP Instance",
          "No step with this SOP Instance UID was created here."),
    Cause("N-SET", Status.MISSING_ATTRIBUTE_VALUE, "Failure: Missing attribute value",
          "The status is empty, or an item of a sequence has no UID."),
    Cause("N-SET", Status.RESOURCE_LIMITATION, "Failure: Resource limitation",
          "More than 100 000 instances are named."),
    Cause("N-EVENT-REPORT", Status.SUCCESS, "Success", "What the archive committed and failed is on record."),
    Cause("N-EVENT-REPORT", Status.PROCESSING_FAILURE, "Failure: Processing failure",
          "Disk or database refused, or something nobody expected."),
    Cause("N-EVENT-REPORT", Status.NO_SUCH_SOP_INSTANCE, "Failure: No such SOP Instance",
          "Not the well-known SOP Instance of the Storage Commitment Push Model."),
    Cause("N-EVENT-REPORT", Status.NO_SUCH_EVENT_TYPE, "Failure: No such event type",
          "Another Event Type than 1 or 2."),
    Cause("N-EVENT-REPORT", Status.INVALID_ARGUMENT_VALUE, "Failure: Invalid argument value",
          "The Transaction UID is missing, or nobody here asked for it."),
)
"""In the order of the services, Success first."""


BY_ERROR: tuple[tuple[type[NodeError], Status], ...] = (
    (UnusableIdentity, Status.CANNOT_UNDERSTAND),
    (QueryMismatch, Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS),
    (AlreadyAnnounced, Status.DUPLICATE_SOP_INSTANCE),
    (NotAnnounced, Status.NO_SUCH_SOP_INSTANCE),
    (StepEnded, Status.PROCESSING_FAILURE),
    (ClassMismatch, Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS),
    (BadInput, Status.INVALID_ARGUMENT_VALUE),
    (NotAuthorised, Status.NOT_AUTHORISED),
    (OutOfSpace, Status.OUT_OF_RESOURCES),
    (NodeError, Status.PROCESSING_FAILURE),
)
"""The first class that fits decides."""


class Refused(Exception):
    """A handler's own refusal, where the protocol and not the node says no."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def status_of(error: NodeError) -> Status:
    """The answer to ``error``."""
    return next(status for kind, status in BY_ERROR if isinstance(error, kind))


def answer(service: str, work: Callable[[], object]) -> Status:
    """Do ``work`` and turn however it ends into a status. ``service`` is named in the log, such as C-STORE."""
    try:
        work()
    except Refused as refusal:
        return _failed(service, refusal.status, refusal)
    except NodeError as error:
        return _failed(service, status_of(error), error)
    except Exception:  # the handler edge
        log.exception("%s failed in a way nobody expected", service, extra={"action": "dimse.failed"})
        return Status.PROCESSING_FAILURE
    return Status.SUCCESS


def _failed(service: str, status: Status, error: Exception) -> Status:
    log.warning("%s answered 0x%04X: %s", service, status, error, extra={"action": "dimse.refused"})
    return status

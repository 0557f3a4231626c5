"""DIMSE statuses by the standard's names, and which of the node's errors is answered with which."""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import IntEnum

from node.errors import BadInput, ClassMismatch, NodeError, NotAuthorised, OutOfSpace, UnusableIdentity

log = logging.getLogger(__name__)


class Status(IntEnum):
    """Service statuses (PS3.7 annex C) and those of the Storage Service Class (PS3.4 table B.2-1)."""

    SUCCESS = 0x0000
    #: A general failure: disk or database refused, or something nobody expected. Sending again may help.
    PROCESSING_FAILURE = 0x0110
    NO_SUCH_SOP_INSTANCE = 0x0112
    NO_SUCH_EVENT_TYPE = 0x0113
    #: Event or Action Information cannot be used, for example a Transaction UID that was never asked for.
    INVALID_ARGUMENT_VALUE = 0x0115
    #: The command's class is not the one its presentation context was accepted for.
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NO_SUCH_ACTION = 0x0123
    #: Refused: not authorised. The node is not configured to do this for the caller, and will not be by waiting.
    NOT_AUTHORISED = 0x0124
    #: Refused: out of resources. Less space than the reserve is left.
    OUT_OF_RESOURCES = 0xA700
    #: Error: data set does not match SOP class.
    DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xA900
    #: Error: cannot understand. Study, Series or SOP Instance UID is missing or unusable.
    CANNOT_UNDERSTAND = 0xC000


BY_ERROR: tuple[tuple[type[NodeError], Status], ...] = (
    (UnusableIdentity, Status.CANNOT_UNDERSTAND),
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
    except Exception:
        log.exception("%s failed in a way nobody expected", service, extra={"action": "dimse.failed"})
        return Status.PROCESSING_FAILURE
    return Status.SUCCESS


def _failed(service: str, status: Status, error: Exception) -> Status:
    log.warning("%s answered 0x%04X: %s", service, status, error, extra={"action": "dimse.refused"})
    return status

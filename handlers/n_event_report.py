"""N-EVENT-REPORT: an archive says which of our objects it has committed to keep."""

from __future__ import annotations

import time
from collections.abc import Callable

from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.sop_class import StorageCommitmentPushModelInstance

from handlers.statuses import Refused, Status, answer
from node.commitment import commitment_report
from node.domain import CommitmentReport

EVENT_TYPES = (1, 2)
"""Storage Commitment Request Successful; Complete, Failures Exist (PS3.4 table J.3-2)."""


def handle_event_report(event: Event, on_commitment: Callable[[CommitmentReport], None]) -> tuple[int, None]:
    """Storage Commitment Push Model as SCU (PS3.4 J.3.3).

    ``on_commitment`` raises BadInput for a transaction nobody asked for: that is an invalid argument,
    as Transaction UID is part of Event Information. No such SOP Instance is kept for a report about
    another instance than the well-known one.
    """
    _wait_until_established(event.assoc)
    return answer("N-EVENT-REPORT", lambda: on_commitment(_report(event))), None


def _wait_until_established(association: Association) -> None:
    """An archive reports as soon as it is accepted. pynetdicom serves that on a thread of its own, and
    would leave it unanswered until the association's thread has called itself established."""
    while not association.is_established and association.is_alive():
        time.sleep(0.001)


def _report(event: Event) -> CommitmentReport:
    instance_uid = str(event.request.AffectedSOPInstanceUID)
    if instance_uid != StorageCommitmentPushModelInstance:
        raise Refused(Status.NO_SUCH_SOP_INSTANCE, f"event report about {instance_uid}")
    if event.request.EventTypeID not in EVENT_TYPES:
        raise Refused(Status.NO_SUCH_EVENT_TYPE, f"event type {event.request.EventTypeID} of storage commitment")
    return commitment_report(event.event_information)

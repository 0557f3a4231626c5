"""N-SET: a modality completes or discontinues a procedure step."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pynetdicom.events import Event

from handlers.announced import step_of
from handlers.association import Identity
from handlers.statuses import Refused, Status, answer
from node.announcements import Announcements
from node.domain import PerformedStepStatus, StepChange
from node.errors import StepEnded

MAY_NO_LONGER_BE_UPDATED = 0xA506
"""Error ID of an N-SET on a step that is completed or discontinued (PS3.4 F.7.2.2.2)."""


def handle_set(event: Event, announcements: Announcements) -> tuple[int | Dataset, None]:
    """Modality Performed Procedure Step as SCP (PS3.4 F.7.2.2)."""
    ended: list[StepEnded] = []

    def work() -> None:
        try:
            announcements.change(_change(event))
        except StepEnded as error:
            ended.append(error)
            raise

    status = answer("N-SET", work)
    return _with_error_id(status) if ended else status, None


def _change(event: Event) -> StepChange:
    if event.request.ModificationList is None:
        raise Refused(Status.INVALID_ATTRIBUTE_VALUE, "the request changes nothing")
    step, peer = step_of(event.modification_list), Identity.of(event.assoc)
    return StepChange(
        sop_instance_uid=str(event.request.RequestedSOPInstanceUID),
        status=step.status or PerformedStepStatus.IN_PROGRESS, instances=step.instances,
        calling_ae_title=peer.calling_ae_title, source_host=peer.source_host, association=peer.association)


def _with_error_id(status: Status) -> Dataset:
    reply = Dataset()
    reply.Status = int(status)
    reply.ErrorComment = "Performed Procedure Step Object may no longer be updated"
    reply.ErrorID = MAY_NO_LONGER_BE_UPDATED
    return reply

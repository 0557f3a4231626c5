"""N-CREATE: a modality begins a procedure step, or an archive says which instances of a study are available."""

from __future__ import annotations

import uuid

from pydicom.dataset import Dataset
from pynetdicom.events import Event
from pynetdicom.sop_class import ModalityPerformedProcedureStep

from handlers.announced import notification_of, require, step_of, usable
from handlers.association import Identity
from handlers.statuses import Refused, Status, answer
from node.announcements import Announcements
from node.domain import Announcement, AnnouncementKind, PerformedStepStatus


def handle_create(event: Event, announcements: Announcements) -> tuple[int, Dataset | None]:
    """Modality Performed Procedure Step (PS3.4 F.7.2.1) and Instance Availability Notification (PS3.4 R.3.2) as SCP.

    A peer that names no SOP Instance UID is told the one its object got.
    """
    named = event.request.AffectedSOPInstanceUID
    uid = str(named or f"2.25.{uuid.uuid4().int}")
    status = answer("N-CREATE", lambda: announcements.create(_announcement(event, uid)))
    if named or status is not Status.SUCCESS:
        return status, None
    reply = Dataset()
    reply.AffectedSOPInstanceUID = uid
    return status, reply


def _announcement(event: Event, uid: str) -> Announcement:
    if not usable(uid):
        raise Refused(Status.INVALID_SOP_INSTANCE, f"Affected SOP Instance UID {uid[:80]!r} is not usable")
    if event.request.AttributeList is None:
        raise Refused(Status.MISSING_ATTRIBUTE, "the request has no attributes at all")
    attributes, peer = event.attribute_list, Identity.of(event.assoc)
    if event.context.abstract_syntax == ModalityPerformedProcedureStep:
        kind, status, (studies, instances) = AnnouncementKind.MPPS, PerformedStepStatus.IN_PROGRESS, _begun(attributes)
    else:
        kind, status = AnnouncementKind.IAN, PerformedStepStatus.COMPLETED
        study, instances = notification_of(attributes)
        studies = (study,)
    return Announcement(
        kind=kind, sop_instance_uid=uid, status=status, study_instance_uids=studies, instances=instances,
        calling_ae_title=peer.calling_ae_title, source_host=peer.source_host, association=peer.association)


def _begun(attributes: Dataset) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Studies, and instances named already; a step begins in progress, whatever comes of it."""
    step = step_of(attributes)
    require(attributes, "ScheduledStepAttributesSequence", "PerformedProcedureStepStatus")
    if step.status is not PerformedStepStatus.IN_PROGRESS:
        raise Refused(Status.INVALID_ATTRIBUTE_VALUE, "PerformedProcedureStepStatus of a new step is not IN PROGRESS")
    return step.studies, step.instances or ()

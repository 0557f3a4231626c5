"""N-ACTION: a sender asks the node to commit to the safekeeping of what it sent."""

from __future__ import annotations

from collections.abc import Callable

from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from handlers.association import Identity
from handlers.statuses import Refused, Status, answer
from node.commitment import UNREADABLE, requested_instances
from node.domain import CommitmentRequest
from node.errors import BadInput

REQUEST_STORAGE_COMMITMENT = 1
"""The only Action Type ID there is (PS3.4 table J.3-1)."""


def handle_action(
    event: Event, on_request: Callable[[CommitmentRequest], None], watch: Callable[[Association], None]
) -> tuple[int, None]:
    """Storage Commitment Push Model as SCP (PS3.4 J.3.2): Success says that the request is on record, no more.

    ``on_request`` raises NotAuthorised for a sender that could not be told the outcome. ``watch`` is shown the
    association before the answer.
    """
    watch(event.assoc)
    return answer("N-ACTION", lambda: on_request(_request(event))), None


def handle_proposal(event: Event, may_report: Callable[[str], bool]) -> None:
    """Refuse storage commitment to a caller that would be its SCU, where the node is not its SCP.

    A caller that proposes no role is an SCU (PS3.7 D.3.3.4). pynetdicom accepts that whatever roles are
    supported. An archive may report without proposing its role, as some do: ``may_report`` knows it by AE title.
    """
    association = event.assoc
    if _proposes_to_ask(association) and not may_report(Identity.of(association).calling_ae_title):
        acceptor = association.acceptor
        acceptor.supported_contexts = [
            context for context in acceptor.supported_contexts
            if context.abstract_syntax != StorageCommitmentPushModel]


def _proposes_to_ask(association: Association) -> bool:
    role = association.requestor.role_selection.get(StorageCommitmentPushModel)
    return (role is None or not role.scp_role) and any(
        context.abstract_syntax == StorageCommitmentPushModel
        for context in association.requestor.primitive.presentation_context_definition_list)


def _request(event: Event) -> CommitmentRequest:
    instance_uid = str(event.request.RequestedSOPInstanceUID)
    if instance_uid != StorageCommitmentPushModelInstance:
        raise Refused(Status.NO_SUCH_SOP_INSTANCE, f"action on {instance_uid}")
    if event.request.ActionTypeID != REQUEST_STORAGE_COMMITMENT:
        raise Refused(Status.NO_SUCH_ACTION, f"action type {event.request.ActionTypeID} of storage commitment")
    transaction_uid, instances = requested_instances(_information(event))
    peer = Identity.of(event.assoc)
    return CommitmentRequest(
        transaction_uid=transaction_uid, calling_ae_title=peer.calling_ae_title, source_host=peer.source_host,
        association=peer.association, instances=instances)


def _information(event: Event) -> Dataset:
    if event.request.ActionInformation is None:
        raise BadInput("storage commitment: the request has no Action Information")
    try:
        information: Dataset = event.action_information
        return information
    except UNREADABLE as error:
        raise BadInput(f"storage commitment: the request cannot be decoded ({type(error).__name__})") from error

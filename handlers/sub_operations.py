"""C-GET and C-MOVE answered while their C-STORE sub-operations run (PS3.7 9.1.3, 9.1.4).

pynetdicom's own way names this node as the Move Originator where PS3.7 9.1.1.1 wants who asked, answers
"destination unknown" for one that is only away, and keeps the outcomes to itself. So associations are
:class:`RetrievingAssociation`, which serves these two requests by itself.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_GET, C_MOVE
from pynetdicom.dsutils import encode
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import ServiceClass

from handlers.statuses import Status
from node.domain import StoreOutcome

LONGEST_LIST = 65534 // 65
"""UIDs that fit into one element with a length of 16 bits, 64 characters and a backslash each."""

COUNTED = frozenset({
    Status.SUCCESS, Status.PENDING, Status.CANCEL, Status.SUB_OPERATIONS_FAILED, Status.NO_SUB_OPERATION})
"""Statuses that tell how many sub-operations ended how."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One C-GET or C-MOVE response. ``failed_uids`` are told in the last one only."""

    status: Status
    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warning: int = 0
    failed_uids: tuple[str, ...] = ()
    comment: str = ""

    def after(self, sop_instance_uid: str, outcome: StoreOutcome) -> Progress:
        """One sub-operation later."""
        left = replace(self, remaining=self.remaining - 1)
        if outcome.status == Status.SUCCESS:
            return replace(left, completed=left.completed + 1)
        if outcome.status is not None and (0xB000 <= outcome.status <= 0xBFFF or outcome.status in (0x0107, 0x0116)):
            return replace(left, warning=left.warning + 1)
        return left.failing((sop_instance_uid,))

    def failing(self, sop_instance_uids: Sequence[str]) -> Progress:
        """So many more failed. Of their UIDs as many are kept as can be told."""
        uids = (*self.failed_uids, *sop_instance_uids[: LONGEST_LIST - len(self.failed_uids)])
        return replace(self, failed=self.failed + len(sop_instance_uids), failed_uids=uids)

    def ended(self) -> Progress:
        """The last response: Success only where every object arrived without a warning (PS3.4 C.4.2.1.5)."""
        if not (self.failed or self.warning):
            return replace(self, status=Status.SUCCESS)
        arrived = self.completed or self.warning
        return replace(self, status=Status.SUB_OPERATIONS_FAILED if arrived else Status.NO_SUB_OPERATION)


Answers = Generator[Progress, None, None]
"""The responses to one request, in their order; closed early where nobody is there to hear them."""


class RetrieveService(ServiceClass):  # type: ignore[misc]
    """Sends what the handler of the event yields, until it ends or nobody is there to hear it."""

    def SCP(self, req: C_GET | C_MOVE, context: PresentationContext) -> None:
        """Serve one request. The handler raises nothing."""
        event = evt.EVT_C_GET if isinstance(req, C_GET) else evt.EVT_C_MOVE
        arguments = {"request": req, "context": context.as_tuple, "_is_cancelled": self.is_cancelled}
        answers: Answers = evt.trigger(self.assoc, event, arguments)
        with closing(answers):
            for answer in answers:
                if self._is_over():
                    return
                self.dimse.send_msg(_response(req, context, answer), context.context_id)
                if self._is_over():
                    return

    def _is_over(self) -> bool:
        return self.assoc.acse.is_aborted() or not self.assoc.is_established


class RetrievingAssociation(Association):  # type: ignore[misc]
    """pynetdicom's association, except that C-GET and C-MOVE are served by :class:`RetrieveService`."""

    def _serve_request(self, msg: Any, context_id: int) -> None:
        context = self._accepted_cx.get(context_id)
        if context is None or not isinstance(msg, C_GET | C_MOVE) or not msg.is_valid_request:
            super()._serve_request(msg, context_id)
            return
        self.dimse.cancel_req = {}  # what came before this request is about another one
        self._is_paused = True  # this thread waits for answers to C-STORE itself
        try:
            RetrieveService(self).SCP(msg, context)
        finally:  # what it raises ends the association, at the edge of its thread
            self._is_paused = False
            self.dimse.cancel_req = {}


def _response(req: C_GET | C_MOVE, context: PresentationContext, answer: Progress) -> C_GET | C_MOVE:
    made = type(req)()
    made.MessageIDBeingRespondedTo = req.MessageID
    made.AffectedSOPClassUID = req.AffectedSOPClassUID
    made.Status = int(answer.status)
    made.ErrorComment = answer.comment or None
    if answer.status in (Status.PENDING, Status.CANCEL):
        made.NumberOfRemainingSuboperations = answer.remaining
    if answer.status in COUNTED:
        made.NumberOfCompletedSuboperations = answer.completed
        made.NumberOfFailedSuboperations = answer.failed
        made.NumberOfWarningSuboperations = answer.warning
    if answer.status is not Status.PENDING and answer.failed_uids:
        made.Identifier = _failed_list(answer.failed_uids, context)
    return made


def _failed_list(uids: tuple[str, ...], context: PresentationContext) -> BytesIO:
    """Failed SOP Instance UID List (0008,0058)."""
    identifier = Dataset()
    identifier.FailedSOPInstanceUIDList = list(uids)
    syntax = context.transfer_syntax[0]
    return BytesIO(encode(identifier, syntax.is_implicit_VR, syntax.is_little_endian) or b"")

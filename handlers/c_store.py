"""C-STORE: the data set goes to intake while it arrives; the answer waits until it is safe.

Every engine serves a request through :class:`Storing`, so what is refused and which status says so is
decided here once. The rest is how pynetdicom's own way of receiving is led there. It collects a
request's data set in memory; its alternative, ``STORE_RECV_CHUNKED_DATASET``, is a switch for the whole
process, writes to the system's temporary folder, flushes per PDV, and leaves the file behind when the
association breaks. So :class:`StreamingDimse` gives the request a :class:`DataSetStream` instead: memory
stays at one PDU per association whatever an instance's size, the disk's pace holds the sender back, and
bytes are written once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, NoReturn, TypeVar

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import P_DATA

from handlers.association import Identity, may_store
from handlers.statuses import Refused, Status, answer
from node.errors import UnusableIdentity
from node.intake import Intake, Reception, StoreRequest

log = logging.getLogger(__name__)

T = TypeVar("T")

LONGEST_UID = 64
INVALID_PDU = "Evt19"
"""Tells the upper layer's state machine to abort (PS3.8 table 9-10)."""


@dataclass(frozen=True, kw_only=True)
class StoreCommand:
    """What a C-STORE-RQ says (PS3.7 section 9.3.1.1) and the presentation context it came on. Texts are verbatim."""

    context_id: int
    sop_class_uid: str
    sop_instance_uid: str
    move_originator_ae_title: str = ""
    has_data_set: bool = True


class Storing:
    """One C-STORE from its command to its status.

    Nothing is raised before the answer, as that would break the association: what went wrong is kept for
    it, and the rest of the data set is only read off the network.
    """

    def __init__(self, association: Association, intake: Intake, command: StoreCommand) -> None:
        self._failure: Exception | None = None
        self._reception: Reception | None = None
        self._reception = self._attempt(lambda: intake.begin(_request(association, command)))

    def write(self, buffers: Sequence[bytes | memoryview]) -> None:
        """Pass on what came of the data set. The buffers may be used again when this returns."""
        reception = self._reception
        if reception is not None:
            self._attempt(lambda: reception.write(buffers))

    def answer(self) -> Status:
        """The whole data set was written: make it durable and say how that went."""
        return answer("C-STORE", self._finish)

    def abandon(self) -> None:
        """The rest will not come, or is of no use: forget what came. After the answer there is nothing to forget."""
        reception, self._reception = self._reception, None
        if reception is not None:
            reception.abandon()

    def _finish(self) -> None:
        reception, self._reception = self._reception, None
        if self._failure is not None:
            raise self._failure
        assert reception is not None
        reception.finish()

    def _attempt(self, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - the handler edge: raised again for the answer
            self._failure = error
            self.abandon()
            return None


def _request(association: Association, command: StoreCommand) -> StoreRequest:
    """What intake is asked. Raises what makes it pointless to ask."""
    if not command.has_data_set:
        _refuse_without_data_set()
    context = association._accepted_cx.get(command.context_id)
    if context is None or context.abstract_syntax != command.sop_class_uid:
        raise Refused(
            Status.SOP_CLASS_NOT_SUPPORTED,
            f"class {command.sop_class_uid[:LONGEST_UID]!r} came on presentation context {command.context_id}, "
            "which was not accepted for it",
        )
    peer = Identity.of(association)
    return StoreRequest(
        sop_class_uid=command.sop_class_uid, sop_instance_uid=command.sop_instance_uid,
        transfer_syntax_uid=str(context.transfer_syntax[0]), calling_ae_title=peer.calling_ae_title,
        called_ae_title=peer.called_ae_title, source_host=peer.source_host, association_id=peer.association,
        may_store=may_store(association), move_originator_ae_title=command.move_originator_ae_title,
    )


class DataSetStream(BytesIO):
    """Stands where pynetdicom expects a data set in memory. Closed, or forgotten, before the answer, it abandons."""

    def __init__(self, storing: Storing) -> None:
        super().__init__()
        self.storing = storing

    def write(self, data: Any) -> int:
        """Pass ``data`` on."""
        self.storing.write((data,))
        return len(data)

    def close(self) -> None:
        """Abandon what was not answered."""
        self.storing.abandon()
        super().close()


class StreamingDimse(DIMSEServiceProvider):  # type: ignore[misc]
    """DIMSE of one association, with C-STORE data sets streamed to ``intake``. Runs on the thread that reads."""

    def __init__(self, association: Association, intake: Intake) -> None:
        super().__init__(association)
        self.intake = intake
        self.sending = threading.Lock()

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """One message after the other: a report on storage commitment is sent by another thread than the answers."""
        with self.sending:
            super().send_msg(primitive, context_id)

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take a P-DATA in, PDV by PDV, so that a command is seen before the data set behind it."""
        for value in primitive.presentation_data_value_list:
            single = P_DATA()
            single.presentation_data_value_list.append(value)
            try:
                self._receive_value(single)
            except Exception as error:  # noqa: BLE001 - the handler edge: pynetdicom raises whatever it trips over
                log.warning(
                    "A message that cannot be read ends association %s: %s: %s", Identity.of(self.assoc).association,
                    type(error).__name__, error, extra={"action": "dimse.malformed"},
                )
                self.abandon()
                self.dul.event_queue.put(INVALID_PDU)
                return

    def abandon(self) -> None:
        """The association is over: drop the data set that was arriving."""
        if self.message is not None and isinstance(self.message.data_set, DataSetStream):
            self.message.data_set.close()

    def _receive_value(self, single: P_DATA) -> None:
        super().receive_primitive(single)
        if isinstance(self.message, C_STORE_RQ) and not isinstance(self.message.data_set, DataSetStream):
            self._divert(self.message)

    def _divert(self, message: C_STORE_RQ) -> None:
        command = message.command_set
        said = StoreCommand(
            context_id=message.context_id,
            sop_class_uid=str(command.get("AffectedSOPClassUID", "")),
            sop_instance_uid=str(command.get("AffectedSOPInstanceUID", "")),
            move_originator_ae_title=str(command.get("MoveOriginatorApplicationEntityTitle", "")).strip(),
        )
        # With none, or one too long, pynetdicom aborts or never answers. It is refused in the answer instead.
        command.AffectedSOPInstanceUID = echoed(said.sop_instance_uid) or "0"
        message.data_set = DataSetStream(Storing(self.assoc, self.intake, said))


def handle_store(event: Event) -> int:
    """Storage Service Class (PS3.4 annex B): Success says that bytes and row are safe, and nothing about pixels."""
    data_set = event.request.DataSet
    if isinstance(data_set, DataSetStream):
        return data_set.storing.answer()
    return answer("C-STORE", _refuse_without_data_set)


def _refuse_without_data_set() -> NoReturn:
    raise UnusableIdentity("the C-STORE request carries no data set")


def echoed(sop_instance_uid: str) -> str:
    """What the answer names as Affected SOP Instance UID: never more than a UID may have, so never what it cannot."""
    return sop_instance_uid[:LONGEST_UID]

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
from io import BytesIO
from typing import Any, NoReturn, TypeVar

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import P_DATA

from handlers.association import Identity, may_store
from handlers.commands import LONGEST_UID, StoreCommand, is_storage, read_store
from handlers.statuses import Refused, Status, answer
from node.errors import UnusableIdentity
from node.intake import Intake, Reception, StoreRequest

log = logging.getLogger(__name__)

T = TypeVar("T")

COMMAND = 0x01
"""Bit of a message control header that tells commands from data sets (PS3.8 annex E.2)."""
LARGEST_IN_MEMORY = 64 << 20
"""Bytes of a data set that is no instance, such as a query or an announcement; they are collected in memory."""
INVALID_PDU = "Evt19"
"""Tells the upper layer's state machine to abort (PS3.8 table 9-10)."""


class ProtocolBreach(Exception):
    """What came cannot be part of a message, and no answer would be about it."""


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
    if context is None or context.abstract_syntax != command.sop_class_uid or not is_storage(command.sop_class_uid):
        raise Refused(
            Status.SOP_CLASS_NOT_SUPPORTED,
            f"class {command.sop_class_uid[:LONGEST_UID]!r} came on presentation context {command.context_id}, "
            "which was not accepted for storing it",
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
        self._context_id = 0

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """One message after the other: a report on storage commitment is sent by another thread than the answers.

        The peer's silence counts from here: while it waited for us it was not silent.
        """
        with self.sending:
            super().send_msg(primitive, context_id)
            self.dul._idle_timer.restart()

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take a P-DATA in, PDV by PDV, so that a command is seen before the data set behind it."""
        for context_id, value in primitive.presentation_data_value_list:
            try:
                self._require_next(context_id, value)
                self._receive_value(context_id, value)
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

    def forget(self) -> None:
        """Nobody will serve what has come either: drop it, too. Called on the thread that would have served it."""
        self.abandon()
        while self.msg_queue.queue:
            _, message = self.msg_queue.get()
            data_set = getattr(message, "DataSet", None)
            if isinstance(data_set, DataSetStream):
                data_set.close()

    def _require_next(self, context_id: int, value: bytes) -> None:
        """Fragments of a message come on one context, the command before the data set (PS3.7 6.3.1; PS3.8 E.1)."""
        message = self.message
        if message is None:
            self._context_id = context_id
        if context_id != self._context_id:
            raise ProtocolBreach(f"a fragment on context {context_id} within a message on {self._context_id}")
        awaits_data_set = message is not None and type(message) is not DIMSEMessage
        if bool(value[0] & COMMAND) is awaits_data_set:
            raise ProtocolBreach("a command in a data set" if awaits_data_set else "a data set without its command")

    def _receive_value(self, context_id: int, value: bytes) -> None:
        single = P_DATA()
        single.presentation_data_value_list.append((context_id, value))
        super().receive_primitive(single)
        message = self.message
        if isinstance(message, C_STORE_RQ) and not isinstance(message.data_set, DataSetStream):
            said = read_store(message.command_set, context_id)
            message.data_set = DataSetStream(Storing(self.assoc, self.intake, said))
        elif message is not None and message.data_set.tell() > LARGEST_IN_MEMORY:
            raise ProtocolBreach(f"a data set that is no instance has more than {LARGEST_IN_MEMORY} bytes")


def handle_store(event: Event) -> int:
    """Storage Service Class (PS3.4 annex B): Success says that bytes and row are safe, and nothing about pixels."""
    data_set = event.request.DataSet
    if isinstance(data_set, DataSetStream):
        return data_set.storing.answer()
    return answer("C-STORE", _refuse_without_data_set)


def _refuse_without_data_set() -> NoReturn:
    raise UnusableIdentity("the C-STORE request carries no data set")

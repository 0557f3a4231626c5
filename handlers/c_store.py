"""C-STORE: the data set goes to intake while it arrives; the answer waits until it is safe.

pynetdicom collects a request's data set in memory. Its own alternative, ``STORE_RECV_CHUNKED_DATASET``,
is a switch for the whole process, writes to the system's temporary folder, flushes per PDV, and leaves
the file behind when the association breaks. So :class:`StreamingDimse` gives the request a
:class:`DataSetStream` instead: memory stays at one PDU per association whatever an instance's size, the
disk's pace holds the sender back, and bytes are written once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from io import BytesIO
from typing import Any, TypeVar

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import P_DATA

from handlers.association import Identity, may_store
from handlers.statuses import Refused, Status, answer
from node.errors import UnusableIdentity
from node.intake import Intake, Reception, StoreRequest

T = TypeVar("T")

LONGEST_UID = 64


class DataSetStream(BytesIO):
    """Stands where pynetdicom expects a data set in memory, and passes what is written on to a reception.

    It never raises while bytes arrive, as that would break the association: what went wrong is kept
    for the request's answer. Closed, or forgotten, before :meth:`finish`, it abandons its reception.
    """

    def __init__(self, begin: Callable[[], Reception]) -> None:
        super().__init__()
        self._failure: Exception | None = None
        self._reception: Reception | None = None
        self._reception = self._attempt(begin)

    def write(self, data: Any) -> int:
        """Pass ``data`` on; after a failure the rest of the data set is only read off the network."""
        reception = self._reception
        if reception is not None:
            self._attempt(lambda: reception.write((data,)))
        return len(data)

    def finish(self) -> None:
        """The whole data set was written: make it durable. Raises what went wrong at any time before."""
        reception, self._reception = self._reception, None
        if self._failure is not None:
            raise self._failure
        assert reception is not None
        reception.finish()

    def close(self) -> None:
        """Abandon what was not finished."""
        self._abandon()
        super().close()

    def _attempt(self, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - the handler edge: raised again in finish()
            self._failure = error
            self._abandon()
            return None

    def _abandon(self) -> None:
        reception, self._reception = self._reception, None
        if reception is not None:
            reception.abandon()


class StreamingDimse(DIMSEServiceProvider):  # type: ignore[misc]
    """DIMSE of one association, with C-STORE data sets streamed to ``intake``. Runs on the thread that reads."""

    def __init__(self, association: Association, intake: Intake) -> None:
        super().__init__(association)
        self._intake = intake
        self._sending = threading.Lock()

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """One message after the other: a report on storage commitment is sent by another thread than the answers."""
        with self._sending:
            super().send_msg(primitive, context_id)

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take a P-DATA in, PDV by PDV, so that a command is seen before the data set behind it."""
        for value in primitive.presentation_data_value_list:
            single = P_DATA()
            single.presentation_data_value_list.append(value)
            super().receive_primitive(single)
            if isinstance(self.message, C_STORE_RQ) and not isinstance(self.message.data_set, DataSetStream):
                self._divert(self.message)

    def abandon(self) -> None:
        """The connection is gone: drop the data set that was arriving."""
        if self.message is not None and isinstance(self.message.data_set, DataSetStream):
            self.message.data_set.close()

    def _divert(self, message: C_STORE_RQ) -> None:
        command = message.command_set
        request_uid = str(command.get("AffectedSOPInstanceUID", ""))
        if not 0 < len(request_uid) <= LONGEST_UID:
            # With such a value pynetdicom aborts, or never answers. It is refused in the answer instead.
            command.AffectedSOPInstanceUID = request_uid[:LONGEST_UID] or "0"
        message.data_set = DataSetStream(lambda: self._begin(message.context_id, command, request_uid))

    def _begin(self, context_id: int, command: Any, sop_instance_uid: str) -> Reception:
        sop_class_uid = str(command.get("AffectedSOPClassUID", ""))
        context = next((found for found in self.assoc.accepted_contexts if found.context_id == context_id), None)
        if context is None or context.abstract_syntax != sop_class_uid:
            raise Refused(
                Status.SOP_CLASS_NOT_SUPPORTED,
                f"class {sop_class_uid[:LONGEST_UID]!r} came on presentation context {context_id}, "
                "which was not accepted for it",
            )
        peer = Identity.of(self.assoc)
        return self._intake.begin(StoreRequest(
            sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=str(context.transfer_syntax[0]), calling_ae_title=peer.calling_ae_title,
            called_ae_title=peer.called_ae_title, source_host=peer.source_host, association_id=peer.association,
            may_store=may_store(self.assoc),
        ))


def handle_store(event: Event) -> int:
    """Storage Service Class (PS3.4 annex B): Success says that bytes and row are safe, and nothing about pixels."""
    return answer("C-STORE", lambda: _finish(event.request.DataSet))


def _finish(data_set: BytesIO) -> None:
    if not isinstance(data_set, DataSetStream):
        raise UnusableIdentity("the C-STORE request carries no data set")
    data_set.finish()

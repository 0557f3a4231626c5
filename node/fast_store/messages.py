"""Messages from fragments: C-STORE served here, every other one given to pynetdicom."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from pynetdicom.association import Association
from pynetdicom.pdu_primitives import P_DATA

from handlers.c_store import Storing, StreamingDimse
from node.fast_store.command import StoreMessage, read_store
from node.fast_store.p_data import COMMAND, LAST, AbortReason, Fragment, InvalidPDU, encode_command
from node.intake import Intake

LARGEST_COMMAND = 1 << 20
"""Bytes of a command set; a C-STORE-RQ takes some 200."""


class FastDimse(StreamingDimse):
    """DIMSE of one association. Runs on the association's own thread.

    ``is_free`` says whether a C-STORE may be answered now: nobody else is sending or waits for an answer.
    ``send`` takes encoded PDUs.
    """

    def __init__(
        self, association: Association, intake: Intake, is_free: Callable[[], bool], send: Callable[[bytes], None],
    ) -> None:
        super().__init__(association, intake)
        self._is_free = is_free
        self._send = send
        self._command = bytearray()
        self._message: StoreMessage | None = None
        self._storing: Storing | None = None
        self._pieces: list[memoryview] = []

    @property
    def is_receiving(self) -> bool:
        """Whether a command, or the data set of a C-STORE, is on its way."""
        return self._storing is not None or bool(self._command)

    def get_msg(self, block: bool = False) -> Any:
        """As the base; a wait on the association's own thread goes on sending and receiving."""
        if block and threading.current_thread() is self.assoc:
            self.dul.turn_until(lambda: self.msg_queue.queue, self.dimse_timeout)
            block = False
        return super().get_msg(block)

    def take(self, fragment: Fragment) -> None:
        """Take a fragment in. Its data is no longer needed after :meth:`flush`.

        Raises:
            InvalidPDU: it has no place here.
        """
        if fragment.context_id not in self.assoc._accepted_cx:
            raise InvalidPDU(
                AbortReason.INVALID_PARAMETER_VALUE,
                f"data on presentation context {fragment.context_id}, which was not accepted")
        if fragment.is_command:
            self._take_command(fragment)
        elif self._storing is not None and self._message is not None:
            self._take_data(fragment, self._storing, self._message)
        elif self.message is not None:
            self._pass_on(fragment.context_id, LAST if fragment.is_last else 0, bytes(fragment.data))
        else:
            raise InvalidPDU(AbortReason.UNEXPECTED_PARAMETER, "a data set without a command")

    def flush(self) -> None:
        """Hand the data that was taken in to intake: the buffer it is in will be used again."""
        if self._pieces and self._storing is not None:
            self._storing.write(self._pieces)
        self._pieces.clear()

    def abandon(self) -> None:
        """The association is over: drop the data set that was arriving."""
        super().abandon()
        self._pieces.clear()
        if self._storing is not None:
            self._storing.abandon()
        self._storing = self._message = None

    def _take_command(self, fragment: Fragment) -> None:
        if self._storing is not None or self.message is not None:
            raise InvalidPDU(AbortReason.UNEXPECTED_PARAMETER, "a command inside the data set of another")
        if len(self._command) + len(fragment.data) > LARGEST_COMMAND:
            raise InvalidPDU(
                AbortReason.INVALID_PARAMETER_VALUE, f"a command set of more than {LARGEST_COMMAND} bytes")
        if not self._command:
            self._context_id = fragment.context_id
        self._require_context(fragment)
        self._command += fragment.data
        if fragment.is_last:
            command_set = bytes(self._command)
            self._command.clear()
            self._begin(fragment.context_id, command_set)

    def _begin(self, context_id: int, command_set: bytes) -> None:
        message = read_store(context_id, command_set) if self._is_free() else None
        if message is None:
            self._pass_on(context_id, COMMAND | LAST, command_set)
            return
        storing = Storing(self.assoc, self.intake, message.command)
        if message.command.has_data_set:
            self._message, self._storing = message, storing
        else:
            self._answer(message, storing)

    def _take_data(self, fragment: Fragment, storing: Storing, message: StoreMessage) -> None:
        self._require_context(fragment)
        self._pieces.append(fragment.data)
        if fragment.is_last:
            self.flush()
            self._storing = self._message = None
            self._answer(message, storing)

    def _require_context(self, fragment: Fragment) -> None:
        if fragment.context_id != self._context_id:
            raise InvalidPDU(
                AbortReason.UNEXPECTED_PARAMETER,
                f"a fragment on context {fragment.context_id} within a message on {self._context_id}")

    def _answer(self, message: StoreMessage, storing: Storing) -> None:
        response = message.response(storing.answer())
        with self.sending:
            self._send(encode_command(message.command.context_id, response, self.maximum_pdu_size or 0))

    def _pass_on(self, context_id: int, control: int, value: bytes) -> None:
        primitive = P_DATA()
        primitive.presentation_data_value_list.append((context_id, bytes((control,)) + value))
        self.receive_primitive(primitive)

"""The DICOM upper layer of one association, run by the association's own thread (PS3.8 section 9.2)."""

from __future__ import annotations

import logging
import math
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from queue import Empty
from typing import Any, cast

from pynetdicom import evt
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import InvalidEventError
from pynetdicom.pdu import A_ABORT_RQ
from pynetdicom.pdu_primitives import P_DATA

from node.fast_store.messages import FastDimse
from node.fast_store.p_data import AbortReason, Fragment, InvalidPDU, Parser
from node.fast_store.waiting import SteadyTimer, Wakeup

log = logging.getLogger(__name__)

LINGER_SECONDS = 1.0
"""How long a peer that was aborted is given to close the connection, while what it still sends is thrown away."""

IDLE, ESTABLISHED, CLOSING = "Sta1", "Sta6", "Sta13"
"""States of PS3.8 section 9.2.1."""
CONNECTION_CLOSED, ARTIM_EXPIRED, INVALID_PDU = "Evt17", "Evt18", "Evt19"
FROM_OUR_SIDE = ("Evt7", "Evt8", "Evt9", "Evt11", "Evt14", "Evt15")
"""Events of PS3.8 table 9-10; the last ones stand for a primitive at the head of what waits to be sent."""

SERVICE_PROVIDER = 0x02
"""Source of an A-ABORT (PS3.8 section 9.3.8)."""

OBSERVED = (
    evt.EVT_DATA_RECV, evt.EVT_DATA_SENT, evt.EVT_PDU_RECV, evt.EVT_PDU_SENT, evt.EVT_DIMSE_RECV, evt.EVT_DIMSE_SENT,
)
"""Where a handler is bound to one of these, pynetdicom makes the objects that it is shown."""


class InlineUpperLayer(DULServiceProvider):  # type: ignore[misc]
    """pynetdicom's upper layer without a thread of its own.

    The association's thread calls :meth:`turn` in a loop, and so does whatever waits on that thread for a
    primitive or for room to send. Other threads put primitives into its queues, as ever, and wake it.
    """

    assoc: Any
    _parser: Parser
    _closes_at: float

    @classmethod
    def adopt(cls, plain: DULServiceProvider, max_pdu: int) -> InlineUpperLayer:
        """Turn ``plain``, which has not been started, into one of these."""
        plain.__class__ = cls
        inline = cast(InlineUpperLayer, plain)
        inline._parser = Parser(max_pdu, inline._streams)
        inline._wakeup = Wakeup()
        inline._reason = AbortReason.NOT_SPECIFIED
        inline._closes_at = math.inf
        inline._has_aborted = inline._is_acting = inline._has_more = False
        inline._poll = select.poll()
        inline._idle_timer = SteadyTimer(plain._idle_timer.timeout)
        inline.artim_timer = SteadyTimer(plain.artim_timer.timeout)
        return inline

    def start(self) -> None:
        """Be ready for the first :meth:`turn`, on the thread that will call it."""
        _tune(self.socket.socket, self.network_timeout or 0.0)
        self._poll.register(self.socket.socket, select.POLLIN)
        self._poll.register(self._wakeup.open(), select.POLLIN)
        self._idle_timer.start()
        self.assoc._dul_ready.set()

    def is_alive(self) -> bool:
        """Whether the association may still send or receive."""
        return not self._kill_thread

    @property
    def idle_seconds(self) -> float:
        """Seconds that the peer may still be silent; 0 when it was for too long."""
        remaining: float = self._idle_timer.remaining
        return max(0.0, remaining)

    @property
    def is_silent(self) -> bool:
        """Whether the peer was silent for too long. What it sent while this thread was busy is not silence."""
        return not self.idle_seconds and not self._readable(0)

    def turn(self, seconds: float = math.inf) -> None:
        """Send what waits or take in what came; where there is neither, wait for it at most so long.

        Raises:
            Exception: whatever an action of pynetdicom's state machine trips over.
        """
        if self.artim_timer.expired:
            self.event_queue.put(ARTIM_EXPIRED)
        elif not self._process_recv_primitive() and not self.event_queue.queue:
            self._receive(seconds)
        self._act()

    def turn_until(self, condition: Callable[[], object], seconds: float | None) -> None:
        """Turn until ``condition`` is true, for at most so long (None: for ever), or the connection is gone."""
        deadline = math.inf if seconds is None else time.monotonic() + seconds
        while not condition() and self.is_alive() and (left := deadline - time.monotonic()) > 0:
            self.turn(left)

    def receive_pdu(self, wait: bool = False, timeout: float | None = None) -> Any:
        """As the base; a wait on the association's own thread goes on sending and receiving."""
        if wait and self._is_own_thread():
            self.turn_until(lambda: self.to_user_queue.queue, timeout)
            wait = False
        return super().receive_pdu(wait, timeout)

    def send_pdu(self, primitive: Any) -> None:
        """As the base; on the association's own thread it is sent when this returns, and what came is looked at."""
        super().send_pdu(primitive)
        if not self._is_own_thread():
            self.wake()
        elif not self._is_acting:
            self.turn_until(lambda: not self.to_provider_queue.queue, None)
            self._idle_timer.restart()
            if isinstance(primitive, P_DATA) and self.is_alive():
                self.turn(0)  # the peer may cancel, or abort, what takes many messages

    def wake(self) -> None:
        """End the :meth:`turn` that waits, from another thread."""
        self._wakeup.ring()

    def send_data(self, pdus: bytes) -> None:
        """Send encoded P-DATA-TF PDUs, after what other threads have given to be sent."""
        while self.to_provider_queue.queue and self.is_alive():
            self.turn(0)
        self.socket.send(pdus)
        self._idle_timer.restart()

    def stop_dul(self) -> bool:
        """Wait until the connection is closed; on another thread only say whether it is."""
        if not self._is_own_thread():
            self.wake()
            return not self.is_alive()
        self.turn_until(lambda: self.state_machine.current_state == IDLE, 2 * LINGER_SECONDS)
        self.end()
        return True

    def end(self) -> None:
        """However it came to this: the connection is closed, and who waits for that is told."""
        if self.state_machine.current_state != IDLE:
            self.state_machine.do_action(CONNECTION_CLOSED)
        self._kill_thread = True

    def close(self) -> None:
        """Nobody will call :meth:`turn` again."""
        self._kill_thread = True
        self._wakeup.close()

    def abort_at_once(self, reason: AbortReason) -> None:
        """Send an A-ABORT past the state machine, which does not work any more."""
        pdu = A_ABORT_RQ()
        pdu.source, pdu.reason_diagnostic = SERVICE_PROVIDER, reason
        if self.socket is not None and self.socket.socket is not None:
            self.socket.send(pdu.encode())

    def _receive(self, seconds: float) -> None:
        if self.state_machine.current_state == CLOSING:
            self._linger(seconds)
        elif not self._take() and (self._has_more or self._readable(seconds)):
            self._fill()
            self._take()

    def _take(self) -> bool:
        """Take in what was read, up to the end of a message that somebody has to serve; whether there was any."""
        dimse: FastDimse = self.assoc.dimse
        served, found = len(dimse.msg_queue.queue), None
        try:
            while len(dimse.msg_queue.queue) <= served and not self.event_queue.queue:
                if (found := self._parser.take()) is None:
                    break
                if isinstance(found, Fragment):
                    self._reason = AbortReason.NOT_SPECIFIED
                    dimse.take(found)
                else:
                    self._take_pdu(found)
            dimse.flush()
        except InvalidPDU as error:
            self._reject(error.reason, str(error))
        return found is not None

    def _take_pdu(self, encoded: bytearray) -> None:
        try:
            pdu, event = self._decode_pdu(encoded)
        except Exception as error:  # noqa: BLE001 - pynetdicom raises whatever it trips over
            self._reject(AbortReason.INVALID_PARAMETER_VALUE, f"{type(error).__name__}: {error}")
            return
        self._reason = AbortReason.UNEXPECTED_PDU  # for where the state machine does not expect it
        self._recv_pdu.put(pdu)
        self.event_queue.put(event)

    def _reject(self, reason: AbortReason, why: str) -> None:
        log.warning("A PDU that cannot be read ends association %s: %s", self.assoc.name, why,
                    extra={"action": "pdu.invalid", "reason": reason})
        self._reason = reason
        self.event_queue.put(INVALID_PDU)

    def _readable(self, seconds: float) -> bool:
        seconds = min(seconds, self.artim_timer.remaining)
        timeout = None if seconds == math.inf else max(0, math.ceil(seconds * 1000))
        ready = [descriptor for descriptor, _ in self._poll.poll(timeout)]
        if self._wakeup.descriptor in ready:
            self._wakeup.answer()
            ready.remove(self._wakeup.descriptor)
        return bool(ready)

    def _fill(self) -> None:
        room = self._parser.room()
        count = self._read(room)
        self._has_more = count == len(room)
        if count is None:
            return
        if count == 0:
            self.event_queue.put(CONNECTION_CLOSED)
            return
        self._parser.filled(count)
        self._idle_timer.restart()

    def _read(self, room: memoryview) -> int | None:
        """Bytes read into ``room``, 0 at the end of the stream, None when there are none yet."""
        try:
            count = cast(int, self.socket.socket.recv_into(room, 0, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return None
        except OSError:
            return 0
        self.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return count

    def _linger(self, seconds: float) -> None:
        """Close; after an A-ABORT read on before, as closing on unread data would take it from the peer."""
        if self._closes_at == math.inf:
            self._closes_at = time.monotonic() + (LINGER_SECONDS if self._has_aborted else 0.0)
            self.assoc.dimse.abandon()
            self._parser = Parser(0)
        left = self._closes_at - time.monotonic()
        if left <= 0 or (self._readable(min(seconds, left)) and self._read(self._parser.room()) == 0):
            self.socket.close()

    def _act(self) -> None:
        self._is_acting = True
        try:
            while not self._kill_thread:
                self._do(self.event_queue.get(block=False))
        except Empty:
            pass
        finally:
            self._is_acting = False

    def _do(self, event: str) -> None:
        try:
            self.state_machine.do_action(event)
        except InvalidEventError:  # sent by a service that has not noticed the end of its association
            if event in FROM_OUR_SIDE:
                self.to_provider_queue.get(block=False)

    def _send(self, pdu: Any) -> None:
        """As the base; an A-ABORT of ours says why."""
        if isinstance(pdu, A_ABORT_RQ):
            self._has_aborted = True
            if pdu.source == SERVICE_PROVIDER and not pdu.reason_diagnostic:
                pdu.reason_diagnostic = self._reason
        super()._send(pdu)

    def _streams(self) -> bool:
        """Whether P-DATA that begins now goes to the messages as it arrives, rather than through pynetdicom."""
        if self.state_machine.current_state != ESTABLISHED:
            return False
        return self.assoc.dimse.is_receiving or not any(self.assoc.get_handlers(event) for event in OBSERVED)

    def _is_own_thread(self) -> bool:
        return threading.current_thread() is self.assoc


def _tune(connection: socket.socket, send_seconds: float) -> None:
    """Acknowledge at once, so that a peer with Nagle's algorithm does not wait; the kernel forgets that wish.

    The kernel times sending out, too (0 is never): where Python does, it polls once more before every call.
    """
    connection.setblocking(True)
    timeout = struct.pack("@ll", int(send_seconds), int(send_seconds % 1 * 1e6))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

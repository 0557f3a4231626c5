"""An association that runs on one thread."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Any, cast

from pynetdicom import evt
from pynetdicom.association import Association

from handlers.sub_operations import RetrievingAssociation
from node.fast_store.messages import FastDimse
from node.fast_store.p_data import AbortReason
from node.fast_store.upper_layer import InlineUpperLayer
from node.intake import Intake

log = logging.getLogger(__name__)

BORROWED_SECONDS = 0.05
"""How often it is looked whether another thread, which sends and waits for an answer, is done."""


class FastAssociation(RetrievingAssociation):
    """pynetdicom's association as acceptor, with its upper layer inline and C-STORE on the short way."""

    dul: InlineUpperLayer
    dimse: FastDimse
    is_established: bool

    @classmethod
    def adopt(cls, plain: Association, intake: Intake) -> FastAssociation:
        """Turn ``plain``, which has a socket and has not been started, into one of these."""
        plain.__class__ = cls
        fast = cast(FastAssociation, plain)
        fast._reports = deque()
        fast._is_serving = False
        fast.dul = InlineUpperLayer.adopt(plain.dul, plain.acceptor.maximum_length)
        fast.dimse = FastDimse(fast, intake, fast._is_free, fast.dul.send_data)
        return fast

    def run(self) -> None:
        """Serve the association to its end. What nobody expected ends this one and no other."""
        try:
            self.run_reactor()
        except Exception:
            log.exception("Association %s ends with an error", self.name, extra={"action": "association.failed"})
            self._break_off()
        finally:
            self.dul.end()
            self.dul.close()
            self.dimse.forget()

    def _run_reactor(self) -> None:
        while not self._kill:
            self._serve_waiting()
            if self._is_over():
                return
            self._is_paused = not self.dimse.is_receiving
            seconds = self.dul.idle_seconds
            self.dul.turn(seconds if self._reactor_checkpoint.is_set() else min(seconds, BORROWED_SECONDS))
        self.dul.stop_dul()  # another thread ended it: what that has to say is sent first

    def _serve_waiting(self) -> None:
        """Let pynetdicom serve the requests that have come, in their order."""
        while self._may_serve() and (self._reports or self.dimse.msg_queue.queue):
            context_id, message = self._reports.popleft() if self._reports else self.dimse.get_msg()
            if message is not None:
                self._serve_request(message, context_id)

    def _may_serve(self) -> bool:
        """Not inside a C-STORE, nor while another thread waits for an answer, nor for a peer that is gone."""
        is_busy = self.dimse.is_receiving or not self._reactor_checkpoint.is_set()
        return not (is_busy or self._kill or self.acse.is_aborted())

    def _serve_request(self, msg: Any, context_id: int) -> None:
        """As the base; pynetdicom begins a thread for an event report, and it is served on this one all the same."""
        if threading.current_thread() is not self:
            self._reports.append((context_id, msg))
            self.dul.wake()
            return
        self._is_serving = True
        try:
            super()._serve_request(msg, context_id)
        finally:
            self._is_serving = False

    def _is_over(self) -> bool:
        """End it where one side has; in the order and with the notifications of the base."""
        if self.is_established and self.acse.is_release_requested():
            self.acse.send_release(is_response=True)
            self.is_released, self.is_established = True, False
            evt.trigger(self, evt.EVT_RELEASED, {})
        elif self.acse.is_aborted():
            self.dul.receive_pdu()  # tells who watches EVT_ACSE_RECV
            self.is_aborted, self.is_established = True, False
            evt.trigger(self, evt.EVT_ABORTED, {})
        elif self.dul.is_alive() and self.dul.is_silent:
            log.warning("Association %s was silent for %g s and is aborted", self.name, self.network_timeout,
                        extra={"action": "association.silent"})
            self.abort()
        elif self.dul.is_alive():
            return False
        self.kill()
        return True

    def _is_free(self) -> bool:
        """Whether a C-STORE can be answered as it ends: nobody else sends, or waits for a message."""
        return not self._is_serving and self._reactor_checkpoint.is_set()

    def _break_off(self) -> None:
        was_established, self.is_established, self.is_aborted = self.is_established, False, True
        self.dul.abort_at_once(AbortReason.NOT_SPECIFIED if was_established else AbortReason.INVALID_PARAMETER_VALUE)
        if was_established:
            evt.trigger(self, evt.EVT_ABORTED, {})

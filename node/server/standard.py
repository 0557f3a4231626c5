"""The ``standard`` engine's association: pynetdicom's two threads, which leave nothing behind however they end."""

from __future__ import annotations

import logging
from typing import Any

from pynetdicom import evt
from pynetdicom.dul import DULServiceProvider

from handlers.sub_operations import RetrievingAssociation

log = logging.getLogger(__name__)

ACCEPTED = 0x00
"""Result of an A-ASSOCIATE response (PS3.8 section 7.1.1.7)."""


class StandardUpperLayer(DULServiceProvider):  # type: ignore[misc]
    """Its thread may trip over what a peer sends; then the association's thread is told, and not left to time out."""

    assoc: Any

    def run(self) -> None:
        """As the base."""
        try:
            super().run()
        except Exception:  # the edge of this thread: pynetdicom's state machine raises whatever it trips over
            log.exception("What came on association %s cannot be worked on", self.assoc.name,
                          extra={"action": "association.failed"})
            self.kill_dul()
        if self.assoc.requestor.primitive is None:
            self.to_user_queue.put(None)  # it still waits for a request


class StandardAssociation(RetrievingAssociation):
    """Its thread may trip over what it serves; then the peer is told, and the other thread ends as well."""

    is_aborted: bool

    def run(self) -> None:
        """As the base. What nobody expected ends this association and no other."""
        try:
            super().run()
        except Exception:  # the edge of this thread: pynetdicom and services of other classes raise what they like
            log.exception("Association %s ends with an error", self.name, extra={"action": "association.failed"})
            self.abort()
            self.kill()
        finally:
            self.dimse.forget()
        self._say_how_it_ended()

    def _say_how_it_ended(self) -> None:
        """Where its other thread broke off, nobody has said so."""
        answer = self.acceptor.primitive
        was_accepted = answer is not None and answer.result == ACCEPTED
        if was_accepted and not self.is_released and not self.is_aborted:
            self.is_aborted = True
            evt.trigger(self, evt.EVT_ABORTED, {})

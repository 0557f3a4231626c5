"""Storage commitment for senders, at the receiver: requests are written down, and reports may go back the same way.

A sender that keeps its association open after the N-ACTION is told on it (PS3.4 J.3.3). The clerk tells
everybody else, on a new association.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import sqlalchemy as sa
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import N_ACTION_RSP, N_EVENT_REPORT_RSP
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.dsutils import encode
from pynetdicom.events import Event
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from handlers.association import Identity
from node import delivery
from node.commitment import event_information
from node.config import Config
from node.database import transaction
from node.delivery.requests import RequestKey, claim, ended, take, told
from node.domain import CommitmentRequest, CommitmentVerdict
from node.errors import NodeError, NotAuthorised

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
ANSWER_SECONDS = 30.0
"""A sender's time to take a report on the association that asked."""
CLAIM_SECONDS = 2 * ANSWER_SECONDS

SUCCESS = 0x0000
MESSAGE_ID = 1
"""Of the one report that may be under way on an association."""


@dataclass
class _Open:
    """An association on which somebody asked, and what it is being told."""

    association: Association
    told: RequestKey | None = None
    until: float = 0.0


class Commitments:
    """Implements the receiver's side for one server. Off while no archive is configured."""

    def __init__(self, config: Config, engine: sa.Engine, chain: str) -> None:
        self._archive = config.receive.storage_commitment.archive
        self._callbacks = delivery.callbacks(config.peers, config.destinations)
        self._archives = {one.ae_title for one in config.destinations if one.storage_commitment}
        self._engine = engine
        self._chain = chain
        self._open: dict[str, _Open] = {}
        self._errands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    @property
    def offered(self) -> bool:
        """Whether the node is an SCP of storage commitment."""
        return bool(self._archive)

    def may_report(self, ae_title: str) -> bool:
        """Whether this caller may have storage commitment without selecting a role."""
        return self.offered or ae_title in self._archives

    def take(self, request: CommitmentRequest) -> None:
        """Write a request down.

        Raises:
            NotAuthorised: the service is off, or nothing says where the sender could be told the outcome. That
                a sender waits on its association is not known before, so it is not relied on.
            BadInput: the Transaction UID is in use for other instances.
            StorageError: the database refused.
        """
        if not self.offered:
            raise NotAuthorised("storage commitment is off: receive.storage_commitment.archive is empty")
        if request.calling_ae_title not in self._callbacks:
            raise NotAuthorised(
                f"{request.calling_ae_title!r} asks for storage commitment and is not in peers, so it could not be "
                "told the outcome; add its address there")
        with transaction(self._engine) as connection:
            take(connection, self._chain, request, self._archive)

    def watch(self, association: Association) -> None:
        """Look out for what is sent and received on an association on which somebody asks."""
        association.bind(evt.EVT_DIMSE_SENT, self.on_sent)
        association.bind(evt.EVT_DIMSE_RECV, self.on_received)

    def on_sent(self, event: Event) -> None:
        """A request was answered: from now on its association may be told the outcome."""
        if isinstance(event.message, N_ACTION_RSP) and event.message.command_set.Status == SUCCESS:
            opened = _Open(event.assoc)
            self._errands.put(lambda: self._watch(opened))

    def on_received(self, event: Event) -> None:
        """A sender answered a report."""
        if isinstance(event.message, N_EVENT_REPORT_RSP):
            name, status = Identity.of(event.assoc).association, event.message.command_set.get("Status")
            self._errands.put(lambda: self._answered(name, status))

    def run(self) -> None:
        """Tell what there is to tell until :meth:`stop`; a database that is away is waited for."""
        while True:
            try:
                errand = self._errands.get(timeout=POLL_SECONDS if self._open else None)
                if errand is None:
                    return
            except queue.Empty:
                errand = self._tell
            try:
                errand()
            except NodeError as error:
                log.warning("storage commitment: %s", error, extra={"action": "commitment.retry"})
            except Exception:  # the worker loop's edge: one report that fails keeps no other; the clerk tells it
                log.exception("storage commitment: a report failed", extra={"action": "commitment.error"})

    def stop(self) -> None:
        """End :meth:`run`."""
        self._errands.put(None)

    def _watch(self, opened: _Open) -> None:
        self._open.setdefault(Identity.of(opened.association).association, opened)

    def _tell(self) -> None:
        at = time.monotonic()
        for name, opened in list(self._open.items()):
            if not opened.association.is_alive():
                self._end(name)
            elif opened.told is not None and opened.until < at:
                self._answered(name, None)
        free = [name for name, one in self._open.items() if one.told is None]
        if not free:
            return
        with transaction(self._engine) as connection:
            claimed = claim(connection, free, CLAIM_SECONDS)
        for name, key, verdict in claimed:
            self._report(name, key, verdict)

    def _report(self, name: str, key: RequestKey, verdict: CommitmentVerdict) -> None:
        here = self._open.get(name)
        if here is None or here.told is not None:
            return  # one report at a time; the next turn claims the other one again
        sent = False
        try:
            sent = _send(here.association, verdict)
        finally:  # also where sending raises: an association that cannot be told must not be claimed for again
            if sent:
                here.told, here.until = key, time.monotonic() + ANSWER_SECONDS
            else:
                self._end(name)

    def _answered(self, name: str, status: int | None) -> None:
        opened = self._open.get(name)
        if opened is None or opened.told is None:
            return
        if status != SUCCESS:
            self._end(name)
            return
        key, opened.told = opened.told, None
        with transaction(self._engine) as connection:
            told(connection, self._chain, key, "same")

    def _end(self, name: str) -> None:
        """Nothing more is told on this association: what is left is the clerk's."""
        self._open.pop(name, None)
        with transaction(self._engine) as connection:
            ended(connection, name)


def _send(association: Association, verdict: CommitmentVerdict) -> bool:
    """N-EVENT-REPORT without waiting for its answer; False where none can be sent."""
    context = next((one for one in association.accepted_contexts
                    if one.abstract_syntax == StorageCommitmentPushModel and one.as_scp), None)
    if context is None or not association.is_established:
        return False
    event_type, information = event_information(verdict)
    syntax = context.transfer_syntax[0]
    encoded = encode(information, syntax.is_implicit_VR, syntax.is_little_endian)
    if encoded is None:
        return False
    report = N_EVENT_REPORT()
    report.MessageID = MESSAGE_ID
    report.AffectedSOPClassUID = StorageCommitmentPushModel
    report.AffectedSOPInstanceUID = StorageCommitmentPushModelInstance
    report.EventTypeID = event_type
    report.EventInformation = BytesIO(encoded)
    association.dimse.send_msg(report, context.context_id)
    return True

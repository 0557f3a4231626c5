"""The receiver: listeners, handlers and their collaborators put together."""

from __future__ import annotations

import logging
import socket
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import sqlalchemy as sa
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association

from handlers.association import (
    handle_aborted,
    handle_acse,
    handle_closed,
    handle_established,
    handle_released,
    handle_requested,
)
from handlers.c_echo import handle_echo
from handlers.c_find import handle_find
from handlers.c_get import handle_get
from handlers.c_move import handle_move
from handlers.c_store import handle_store
from handlers.n_action import handle_action, handle_proposal
from handlers.n_create import handle_create
from handlers.n_event_report import handle_event_report
from handlers.n_set import handle_set
from handlers.query_retrieve import handle_extended
from node import audit
from node.announcements import Announcements
from node.config import Config, ReceiveTLS
from node.database import transaction
from node.domain import JSON, AuditEvent, CommitmentReport
from node.errors import ConfigurationError, NodeError
from node.hosts import HostNames
from node.intake import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, Intake
from node.observability import supervised_thread
from node.server.admission import Admission
from node.server.archive import archive
from node.server.commitments import Commitments
from node.server.contexts import offered_contexts
from node.server.transport import REQUEST_SECONDS, AssociationMaker, Listener
from node.tls import own_certificate, server_context

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0
"""How long associations are given to end after an abort, before their connections are cut."""


class Server:
    """The application entity of one receiver process.

    ``on_commitment`` is told of every storage commitment report; it raises BadInput for a transaction it
    does not know. ``on_failure`` is called when a listener ends with an error.
    """

    def __init__(
        self, config: Config, intake: Intake, on_commitment: Callable[[CommitmentReport], None],
        engine: sa.Engine, chain: str, on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._intake = intake
        self._on_commitment = on_commitment
        self._engine = engine
        self._chain = chain
        self._on_failure = on_failure
        self._gate = Admission(config, intake.free_mb, HostNames())
        self._commitments = Commitments(config, engine, chain)
        self._announcements = Announcements(engine, chain)
        self._listeners: list[Listener] = []
        self._entity = _entity(config)
        self._archive = archive(config, engine, self._record_all)

    def start(self) -> int:
        """Listen on the plain port, and on the TLS port where one is set; the plain port's number.

        Raises:
            ConfigurationError: a port cannot be listened on, or a certificate cannot be used.
        """
        _config.LOG_HANDLER_LEVEL = "none"  # pynetdicom would log every PDU while holding a lock of all associations
        _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False  # they may name people
        node, tls = self._config.node, self._config.receive.tls
        context = server_context(tls) if tls.port else None
        contexts = offered_contexts(self._config)
        if self._commitments.offered:
            supervised_thread("commitments", self._commitments.run, self._on_failure)
        port = self._listen("node.port", node.port, contexts, None)
        if context is not None:
            self._listen("receive.tls.port", tls.port, contexts, context)
            _warn_of_expiry(tls)
        return port

    @property
    def tls_port(self) -> int:
        """The TLS port's number, 0 where there is none."""
        return self._listeners[1].server_address[1] if len(self._listeners) > 1 else 0

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Take no more associations, abort those there are, and wait for them to end."""
        self._commitments.stop()
        for listener in self._listeners:
            listener.shutdown()
        self._listeners.clear()
        associations = self._entity.active_associations
        for association in associations:
            association.abort(block=False)
        _join(associations, seconds)
        for association in associations:
            if association.is_alive():
                _disconnect(association)
        _join(associations, seconds)

    def _listen(
        self, key: str, port: int, contexts: Sequence[object], context: ssl.SSLContext | None
    ) -> int:
        host = self._config.node.host
        try:
            listener = self._entity.make_server(
                (host, port), contexts=contexts, ssl_context=context, evt_handlers=self._handlers(),
                server_class=Listener, request_handler=AssociationMaker, intake=self._intake,
                on_no_handshake=self._note_no_handshake,
                share_port=self._config.receive.processes > 1, is_fast=self._is_fast(context),
            )
        except OSError as error:
            raise ConfigurationError(
                f"{key} = {port}: cannot listen on {host} ({error.strerror}); choose a free port, or 0 for any"
            ) from error
        self._entity._servers.append(listener)  # where its shutdown() expects it
        self._listeners.append(listener)
        bound: int = listener.server_address[1]
        supervised_thread(f"listener-{bound}", listener.serve_forever, self._on_failure)
        log.info("Listening on %s port %d", host, bound, extra={"action": "server.listening", "port": bound})
        return bound

    def _handlers(self) -> list[tuple[object, ...]]:
        """Everything the node answers, on one screen."""
        return [
            (evt.EVT_REQUESTED, handle_requested, [self._gate, self._record]),
            (evt.EVT_REQUESTED, handle_proposal, [self._commitments.may_report]),
            (evt.EVT_ACSE_RECV, handle_acse, [self._gate]),
            (evt.EVT_ESTABLISHED, handle_established, [self._record]),
            (evt.EVT_RELEASED, handle_released, [self._record]),
            (evt.EVT_ABORTED, handle_aborted, [self._record]),
            (evt.EVT_CONN_CLOSE, handle_closed),
            (evt.EVT_SOP_EXTENDED, handle_extended),
            (evt.EVT_C_ECHO, handle_echo),
            (evt.EVT_C_STORE, handle_store),
            (evt.EVT_N_CREATE, handle_create, [self._announcements]),
            (evt.EVT_N_SET, handle_set, [self._announcements]),
            (evt.EVT_N_ACTION, handle_action, [self._commitments.take, self._commitments.watch]),
            (evt.EVT_C_FIND, handle_find, [self._archive]),
            (evt.EVT_C_GET, handle_get, [self._archive]),
            (evt.EVT_C_MOVE, handle_move, [self._archive]),
            (evt.EVT_N_EVENT_REPORT, handle_event_report, [self._on_commitment]),
        ]

    def _is_fast(self, context: ssl.SSLContext | None) -> bool:
        """Whether a port is served by the fast engine, which reads the socket itself and knows no TLS."""
        return context is None and self._config.receive.engine == "fast"

    def _note_no_handshake(self, source_host: str, reason: str) -> None:
        """A connection to the TLS port came to nothing."""
        action = "association.handshake_failed"
        detail: JSON = {"source_host": source_host, "reason": reason}
        log.warning("TLS with %s failed: %s", source_host, reason, extra={"action": action, **detail})
        try:
            self._record(AuditEvent(action=action, detail=detail))
        except NodeError as error:
            log.error("%s could not be audited: %s", action, error, extra={"action": "audit.failed"})

    def _record(self, event: AuditEvent) -> None:
        self._record_all([event])

    def _record_all(self, events: Sequence[AuditEvent]) -> None:
        with transaction(self._engine) as connection:
            for event in events:
                audit.append(connection, self._chain, event)


def _warn_of_expiry(tls: ReceiveTLS) -> None:
    try:
        certificate = own_certificate(tls)
    except ConfigurationError as error:  # there may be peers that take what others do not
        log.warning("%s", error, extra={"action": "tls.unusable"})
        return
    warning = certificate.expiry_warning(datetime.now(UTC), tls.expiry_warning_days)
    if warning:
        log.warning("receive.tls.certificate = %s: %s", tls.certificate, warning,
                    extra={"action": "tls.expiring", "not_after": certificate.not_after.isoformat()})


def _entity(config: Config) -> AE:
    entity = AE(ae_title=config.node.ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.maximum_associations = sys.maxsize  # pynetdicom also counts connections; Admission counts associations
    entity.maximum_pdu_size = config.receive.max_pdu
    entity.network_timeout = config.receive.network_timeout_seconds
    entity.acse_timeout = min(REQUEST_SECONDS, config.receive.network_timeout_seconds)
    return entity


def _join(associations: Sequence[Association], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for association in associations:
        association.join(max(0.0, deadline - time.monotonic()))


def _disconnect(association: Association) -> None:
    """Cut the connection of a peer that stopped in the middle of a PDU, so that reading it ends."""
    wrapped = association.dul.socket
    with suppress(OSError, AttributeError):
        wrapped.socket.shutdown(socket.SHUT_RDWR)

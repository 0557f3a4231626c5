"""The receiver: listeners, handlers and their collaborators put together."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import sqlalchemy as sa
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association

from handlers.association import (
    handle_aborted,
    handle_closed,
    handle_established,
    handle_rejected,
    handle_released,
    handle_requested,
)
from handlers.c_echo import handle_echo
from handlers.c_store import handle_store
from handlers.n_action import handle_action, handle_proposal
from handlers.n_event_report import handle_event_report
from node import audit
from node.config import Config, Peer, ReceiveTLS
from node.database import transaction
from node.domain import AuditEvent, CommitmentReport
from node.errors import ConfigurationError
from node.intake import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, Intake
from node.observability import supervised_thread
from node.server.commitments import Commitments
from node.server.contexts import supported_contexts
from node.server.transport import AssociationMaker, Listener

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
        self._commitments = Commitments(config, engine, chain)
        self._listeners: list[Listener] = []
        self._entity = _entity(config)

    def start(self) -> int:
        """Listen on the plain port, and on the TLS port where one is set; the plain port's number.

        Raises:
            ConfigurationError: a port cannot be listened on, or a certificate cannot be used.
        """
        _config.LOG_HANDLER_LEVEL = "none"  # pynetdicom would log every PDU while holding a lock of all associations
        node, tls = self._config.node, self._config.receive.tls
        context = tls_context(tls) if tls.port else None
        contexts = supported_contexts(self._config.receive.private_sop_classes, self._commitments.offered)
        if self._commitments.offered:
            supervised_thread("commitments", self._commitments.run, self._on_failure)
        port = self._listen("node.port", node.port, contexts, None)
        if context is not None:
            self._listen("receive.tls.port", tls.port, contexts, context)
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
                share_port=self._config.receive.processes > 1,
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
        reports: list[tuple[object, ...]] = [
            (evt.EVT_DIMSE_SENT, self._commitments.on_sent), (evt.EVT_DIMSE_RECV, self._commitments.on_received)]
        return [
            (evt.EVT_REQUESTED, handle_requested, [self._is_allowed, self._record]),
            (evt.EVT_REQUESTED, handle_proposal, [self._commitments.may_report]),
            (evt.EVT_REJECTED, handle_rejected, [self._record]),
            (evt.EVT_ESTABLISHED, handle_established, [self._record]),
            (evt.EVT_RELEASED, handle_released, [self._record]),
            (evt.EVT_ABORTED, handle_aborted, [self._record]),
            (evt.EVT_CONN_CLOSE, handle_closed),
            (evt.EVT_C_ECHO, handle_echo),
            (evt.EVT_C_STORE, handle_store),
            (evt.EVT_N_ACTION, handle_action, [self._commitments.take]),
            (evt.EVT_N_EVENT_REPORT, handle_event_report, [self._on_commitment]),
            *(reports if self._commitments.offered else []),
        ]

    def _is_allowed(self, ae_title: str, host: str) -> bool:
        destinations = (Peer(ae_title=one.ae_title, host=one.host) for one in self._config.destinations)
        return is_allowed((*self._config.receive.allowed_peers, *destinations), ae_title, host)

    def _record(self, event: AuditEvent) -> None:
        with transaction(self._engine) as connection:
            audit.append(connection, self._chain, event)


def is_allowed(peers: Sequence[Peer], ae_title: str, host: str) -> bool:
    """Whether one of ``peers`` has this AE title and this address; names of hosts are resolved now."""
    return any(
        peer.ae_title in ("*", ae_title) and (peer.host in ("", "*", host) or host in _addresses(peer.host))
        for peer in peers
    )


def _addresses(host: str) -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except OSError:
        return set()


def tls_context(tls: ReceiveTLS) -> ssl.SSLContext:
    """For the TLS port: version 1.2 or later; with ``ca``, only peers with a certificate of that authority.

    Raises:
        ConfigurationError: a file is missing or is not what it should be.
    """
    if tls.certificate is None or tls.key is None:
        raise ConfigurationError(f"receive.tls.port = {tls.port}: needs receive.tls.certificate and receive.tls.key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        if tls.ca is not None:
            context.load_verify_locations(tls.ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # ssl.SSLError is one
        raise ConfigurationError(
            f"receive.tls: {tls.certificate}, {tls.key} or {tls.ca} cannot be used ({error}); "
            "expected a PEM certificate, its key, and the clients' authority"
        ) from error
    return context


def _entity(config: Config) -> AE:
    entity = AE(ae_title=config.node.ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.maximum_associations = config.receive.max_associations
    entity.maximum_pdu_size = config.receive.max_pdu
    entity.require_called_aet = config.receive.require_called_ae_title
    entity.network_timeout = config.receive.network_timeout_seconds
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

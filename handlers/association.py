"""Associations: who asks to come in, and what the audit says about who came and went."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import A_ABORT, A_P_ABORT, A_RELEASE
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class

from handlers.rejections import Reason, Rejection
from node.domain import JSON, AuditEvent
from node.errors import NodeError
from node.tls import Certificate

log = logging.getLogger(__name__)

Record = Callable[[AuditEvent], None]
"""Writes one event to the audit. May raise StorageError."""

THREAD_PREFIX = "AcceptorThread@"
"""pynetdicom finds the associations of its servers by this beginning of their threads' names."""

MAPPED_IPV4 = "::ffff:"
"""How a listener on every IPv6 address sees an IPv4 peer."""


def source_host(address: Sequence[Any]) -> str:
    """The host of a socket's ``address``."""
    return str(address[0]).removeprefix(MAPPED_IPV4)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who is at the other end, as the association request said."""

    association: str
    calling_ae_title: str
    called_ae_title: str
    source_host: str

    @classmethod
    def of(cls, association: Association) -> Identity:
        """Of an acceptor's association. AE titles are empty before its request was read."""
        request = association.requestor.primitive
        return cls(
            association=association.name.removeprefix(THREAD_PREFIX),
            calling_ae_title=request.calling_ae_title.strip() if request is not None else "",
            called_ae_title=request.called_ae_title.strip() if request is not None else "",
            source_host=source_host(association.requestor.address_info.as_tuple),
        )


@dataclass(frozen=True, kw_only=True)
class Caller(Identity):
    """What there is to know about a peer that asks for an association."""

    certificate: Certificate | None
    #: Whether it proposes to be the SCU of a Storage SOP class, as C-GET does not.
    proposes_storage: bool

    @classmethod
    def asking(cls, association: Association) -> Caller:
        """Of an acceptor's association whose request was read."""
        return cls(
            **asdict(Identity.of(association)), certificate=_certificate(association),
            proposes_storage=_proposes_storage(association),
        )


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """A caller that may come in, and whether it may store: not everyone whom the node calls may."""

    may_store: bool


class Gate(Protocol):
    """Who lets callers in."""

    def enter(self, caller: Caller, is_alive: Callable[[], bool]) -> Admitted | Rejection:
        """Decide, and count those who came in until they leave or ``is_alive`` no more."""

    def leave(self, association: str) -> None:
        """The association of this name ends."""


def handle_requested(event: Event, gate: Gate, record: Record) -> None:
    """Reject a caller that ``gate`` does not let in (PS3.8 section 7.1.1)."""
    answer = _answer(event.assoc, gate)
    if isinstance(answer, Admitted):
        event.assoc.may_store = answer.may_store
        return
    try:
        event.assoc.acse.send_reject(*answer.reason.value)
        why = {"reason": answer.text, "rejection": answer.reason.name}
        _note("association.rejected", Identity.of(event.assoc), record, **why)
    finally:  # pynetdicom logs what a handler raises and goes on with the association
        event.assoc.kill()  # waits until the rejection is out; the connection is closed after this handler


def _answer(association: Association, gate: Gate) -> Admitted | Rejection:
    try:
        caller = Caller.asking(association)
        association.certificate = caller.certificate
        return gate.enter(caller, association.is_alive)
    except Exception:  # the handler edge: pynetdicom would log it and let the caller in
        log.exception("Nobody could decide about an association", extra={"action": "association.undecided"})
        return Rejection(reason=Reason.NO_REASON_GIVEN, text="the node failed to decide; see its log")


def may_store(association: Association) -> bool:
    """Whether the peer may store, as was decided when it came in."""
    return bool(getattr(association, "may_store", False))


def _certificate(association: Association) -> Certificate | None:
    connection = association.dul.socket.socket
    return Certificate.of_peer(connection) if isinstance(connection, ssl.SSLSocket) else None


def _proposes_storage(association: Association) -> bool:
    roles = association.requestor.role_selection
    proposed = (str(context.abstract_syntax) for context in association.requestor.requested_contexts)
    return any(
        issubclass(uid_to_service_class(uid), StorageServiceClass) and (uid not in roles or roles[uid].scu_role)
        for uid in proposed
    )


def handle_acse(event: Event, gate: Gate) -> None:
    """The peer ends the association: its place is free before it reads our answer and may ask again."""
    if isinstance(event.primitive, A_RELEASE | A_ABORT | A_P_ABORT):
        gate.leave(Identity.of(event.assoc).association)


def handle_established(event: Event, record: Record) -> None:
    """An association begins."""
    accepted = len(event.assoc.accepted_contexts)
    certificate = event.assoc.certificate
    shown = {} if certificate is None else {"certificate": certificate.name, "certificate_sha256": certificate.sha256}
    _note("association.accepted", Identity.of(event.assoc), record, presentation_contexts=accepted, **shown)


def handle_released(event: Event, record: Record) -> None:
    """An association ends as it should."""
    _note("association.released", Identity.of(event.assoc), record)


def handle_aborted(event: Event, record: Record) -> None:
    """An association ends otherwise: aborted by either side, timed out, or the connection broke."""
    _note("association.aborted", Identity.of(event.assoc), record)


def handle_closed(event: Event) -> None:
    """The connection is gone: an instance that was on its way will not be completed."""
    association = event.assoc
    association.dimse.abandon()
    if association.requestor.primitive is None:
        # No request ever came, as from a port check. The association would wait for one until its
        # time-out; None is what that time-out gives it.
        association.dul.to_user_queue.put(None)


def _note(action: str, peer: Identity, record: Record, **more: str | int) -> None:
    detail: JSON = {**asdict(peer), **more}
    log.info("%s: %s at %s", action, peer.calling_ae_title, peer.source_host, extra={"action": action, **detail})
    try:
        record(AuditEvent(action=action, detail=detail))
    except NodeError as error:
        log.error("%s could not be audited: %s", action, error, extra={"action": "audit.failed"})

"""Associations: who may come in, and what the audit says about who came and went."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass

from pynetdicom.association import Association
from pynetdicom.events import Event

from node.domain import JSON, AuditEvent
from node.errors import NodeError

log = logging.getLogger(__name__)

Record = Callable[[AuditEvent], None]
"""Writes one event to the audit. May raise StorageError."""

THREAD_PREFIX = "AcceptorThread@"
"""pynetdicom finds the associations of its servers by this beginning of their threads' names."""

MAPPED_IPV4 = "::ffff:"
"""How a listener on every IPv6 address sees an IPv4 peer."""

CALLING_AE_TITLE_NOT_RECOGNISED = (0x01, 0x01, 0x03)
"""Result, source and reason of an A-ASSOCIATE-RJ: permanent, service user, reason (PS3.8 table 9-21)."""


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
            source_host=association.requestor.address_info.address.removeprefix(MAPPED_IPV4),
        )


def handle_requested(event: Event, is_allowed: Callable[[str, str], bool], record: Record) -> None:
    """Reject a caller whose AE title and host are not among those allowed (PS3.8 section 7.1.1)."""
    peer = Identity.of(event.assoc)
    if is_allowed(peer.calling_ae_title, peer.source_host):
        return
    event.assoc.acse.send_reject(*CALLING_AE_TITLE_NOT_RECOGNISED)
    _note("association.rejected", peer, record, reason="calling AE title and host are not in receive.allowed_peers")
    event.assoc.kill()  # waits until the rejection is out; the connection is closed after this handler


def handle_rejected(event: Event, record: Record) -> None:
    """A rejection for the called AE title, or for too many associations."""
    primitive = event.assoc.acceptor.primitive
    numbers = f"result {primitive.result}, source {primitive.result_source}, reason {primitive.diagnostic}"
    _note("association.rejected", Identity.of(event.assoc), record, reason=numbers)


def handle_established(event: Event, record: Record) -> None:
    """An association begins."""
    accepted = len(event.assoc.accepted_contexts)
    _note("association.accepted", Identity.of(event.assoc), record, presentation_contexts=accepted)


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
        # time-out and count among receive.max_associations; None is what that time-out gives it.
        association.dul.to_user_queue.put(None)


def _note(action: str, peer: Identity, record: Record, **more: str | int) -> None:
    detail: JSON = {**asdict(peer), **more}
    log.info("%s: %s at %s", action, peer.calling_ae_title, peer.source_host, extra={"action": action, **detail})
    try:
        record(AuditEvent(action=action, detail=detail))
    except NodeError as error:
        log.error("%s could not be audited: %s", action, error, extra={"action": "audit.failed"})

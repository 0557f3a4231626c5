"""What C-FIND, C-GET and C-MOVE share: who asks what, over which objects, and what the audit says of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pynetdicom.events import Event

from handlers.association import Identity
from handlers.statuses import Refused, Status
from node.config import Destination
from node.domain import JSON, AuditEvent, StoreOutcome
from node.errors import NodeError, PeerError, QueryMismatch, StorageError
from node.results import Audience, Index, Negotiated, Query, Root

log = logging.getLogger(__name__)

_MODEL = "1.2.840.10008.5.1.4.1.2."
FIND = {f"{_MODEL}1.1": Root.PATIENT, f"{_MODEL}2.1": Root.STUDY}
MOVE = {f"{_MODEL}1.2": Root.PATIENT, f"{_MODEL}2.2": Root.STUDY}
GET = {f"{_MODEL}1.3": Root.PATIENT, f"{_MODEL}2.3": Root.STUDY}
"""Query/Retrieve information models by SOP class (PS3.4 C.6)."""

LONGEST_COMMENT = 64
COMBINED_DATE_TIME = 2
"""Length of Service Class Application Information up to and with this byte (PS3.4 table C.5-1)."""

StoreEach = Callable[[Destination, Sequence[Path], tuple[str, int]], Generator[StoreOutcome, None, None]]
"""C-STORE of files to a destination in the name of a C-MOVE: AE title and Message ID of who asked."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """The node's own results as peers may ask for them. ``ae_title`` is where to retrieve them from."""

    index: Index
    data_dir: Path
    ae_title: str
    #: What the peer at an address may be shown.
    audience: Callable[[str], Audience]
    #: The C-MOVE destination of an AE title; None where nobody has it.
    destination: Callable[[str], Destination | None]
    store_each: StoreEach
    #: Writes events to the audit, all of them or none. May raise StorageError.
    record: Callable[[Sequence[AuditEvent]], None]
    #: A query that means more is answered with so many and then refused: out of resources.
    most_matches: int = 5000


@dataclass(frozen=True, kw_only=True)
class Request:
    """One C-FIND, C-GET or C-MOVE and who sent it. ``service`` is its name."""

    service: str
    peer: Identity
    query: Query

    @classmethod
    def of(cls, event: Event, service: str, models: dict[str, Root]) -> Request:
        """Raises Refused for another service's class, and QueryMismatch for an identifier that does not fit."""
        model, root = str(event.request.AffectedSOPClassUID), models.get(str(event.context.abstract_syntax))
        if root is None or model != event.context.abstract_syntax:
            raise Refused(Status.SOP_CLASS_NOT_SUPPORTED, f"{model[:64]} is not of {service} on this context")
        if event.request.Identifier is None:
            raise QueryMismatch("there is no identifier")
        information = event.assoc.requestor.sop_class_extended.get(model, b"")
        query = Query.read(event.request.Identifier.getvalue(), str(event.context.transfer_syntax), root,
                           Negotiated.of(information))
        checked = query.checked_for_find() if service == "C-FIND" else query.checked_for_retrieve()
        return cls(service=service, peer=Identity.of(event.assoc), query=checked)

    def detail(self, **more: str | int | list[str]) -> JSON:
        """What the audit says of it: names of keys and numbers, never values of keys."""
        return {**asdict(self.peer), "service": self.service, "root": self.query.root.value,
                "level": self.query.level.value, **more}


def handle_extended(event: Event) -> dict[str, bytes]:
    """SOP Class Extended Negotiation (PS3.4 C.5): relational queries and retrieval, combined date and time; no more."""
    ours = {**dict.fromkeys(FIND, COMBINED_DATE_TIME), **dict.fromkeys((*GET, *MOVE), 1)}
    asked = {str(uid): information for uid, information in event.app_info.items() if str(uid) in ours}
    return {uid: information[: ours[uid]].ljust(len(information), b"\0") for uid, information in asked.items()}


def refuse(
    event: Event, archive: Archive, service: str, error: Exception, out_of_resources: Status
) -> tuple[Status, str]:
    """Status and Error Comment (0000,0902) for a request that is not served; the audit and the log know."""
    status, comment = refusal(service, error, out_of_resources)
    detail = {**asdict(Identity.of(event.assoc)), "service": service, "status": f"0x{status:04X}"}
    note(archive, AuditEvent(action="query.refused" if service == "C-FIND" else "retrieve.refused", detail=detail))
    return status, comment


def note(archive: Archive, event: AuditEvent) -> None:
    """Record what has already happened, if that is possible."""
    try:
        archive.record([event])
    except NodeError as error:
        log.error("%s could not be audited: %s", event.action, error, extra={"action": "audit.failed"})


def refusal(service: str, error: Exception, out_of_resources: Status) -> tuple[Status, str]:
    """Status and Error Comment for ``error``; also logged. ``out_of_resources`` is for what may pass."""
    if isinstance(error, Refused):
        status = error.status
    elif isinstance(error, QueryMismatch):
        status = Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS
    elif isinstance(error, (StorageError, PeerError)):
        status = out_of_resources
    elif isinstance(error, NodeError):
        status = Status.UNABLE_TO_PROCESS
    else:
        log.error("%s failed in a way nobody expected", service, exc_info=error, extra={"action": "dimse.failed"})
        return Status.UNABLE_TO_PROCESS, "unexpected failure"
    log.warning("%s answered 0x%04X: %s", service, status, error, extra={"action": "dimse.refused"})
    told = "disk or database do not answer" if isinstance(error, StorageError) else str(error)
    return status, told.encode("ascii", "replace").decode("ascii")[:LONGEST_COMMENT]

"""C-FIND: which of the node's own results match (PS3.4 C.4.1)."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset
from pynetdicom.events import Event

from handlers.query_retrieve import FIND, Archive, Request, refuse
from handlers.statuses import Status
from node.domain import AuditEvent
from node.results import Entity, Level, answer, find, is_supported

Response = tuple[Dataset, Dataset | None]


def handle_find(event: Event, archive: Archive) -> Iterator[Response]:
    """Pending responses; pynetdicom adds the last one, Success, when this ends without another status."""
    try:
        request = Request.of(event, "C-FIND", FIND)
        found, complete = _found(request, archive)
    except Exception as error:  # noqa: BLE001 - the handler edge
        yield _last(*refuse(event, archive, "C-FIND", error, Status.OUT_OF_RESOURCES))
        return
    supported = is_supported(request.query)
    pending = _status(Status.PENDING if supported else Status.PENDING_KEYS_UNSUPPORTED)
    for entity in found:
        if event.is_cancelled:
            yield _last(Status.CANCEL, "")
            return
        yield pending, answer(request.query, entity, archive.ae_title)
    if not complete:
        yield _last(Status.OUT_OF_RESOURCES, f"more than {archive.most_matches} matches; ask for less")


def _found(request: Request, archive: Archive) -> tuple[list[Entity], bool]:
    """The matches, after the audit knows of them: nothing is shown that it does not know."""
    audience = archive.audience(request.peer.source_host)
    found, complete = find(archive.index, request.query, audience, archive.most_matches)
    named = request.query.uids(Level.STUDY)
    study = named[0] if found and len(named) == 1 else ""
    archive.record([AuditEvent(action="query.answered", study_instance_uid=study, detail=request.detail(
        keys=sorted(request.query.matching), matches=len(found), complete=complete))])
    return found, complete


def _last(status: Status, comment: str) -> Response:
    return _status(status, comment), None


def _status(status: Status, comment: str = "") -> Dataset:
    made = Dataset()
    made.Status = int(status)
    if comment:
        made.ErrorComment = comment
    return made

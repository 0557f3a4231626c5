"""C-MOVE: results sent to a peer or destination of the configuration (PS3.4 C.4.2)."""

from __future__ import annotations

from pynetdicom.events import Event

from handlers.query_retrieve import MOVE, Archive, Request
from handlers.retrieving import Plan, retrieve
from handlers.statuses import Refused, Status
from handlers.sub_operations import Answers


def handle_move(event: Event, archive: Archive) -> Answers:
    """Responses while the results go to the Move Destination, on an association of the node's own."""

    def planned(request: Request) -> Plan:
        title = str(event.request.MoveDestination or "").strip()
        destination = archive.destination(title)
        if destination is None:
            raise Refused(Status.MOVE_DESTINATION_UNKNOWN, f"{title} is neither in peers nor in destinations")
        originator = (request.peer.calling_ae_title, int(event.request.MessageID))
        return Plan(ae_title=title, audience=archive.audience(destination.host),
                    store=lambda files: archive.store_each(destination, files, originator))

    return retrieve(event, archive, "C-MOVE", MOVE, planned)

"""C-GET: results sent over the association on which they were asked for (PS3.4 C.4.3)."""

from __future__ import annotations

from pynetdicom.events import Event

from handlers.query_retrieve import GET, Archive, Request
from handlers.retrieving import Plan, retrieve
from handlers.sub_operations import Answers
from node.dicom_client import store_over


def handle_get(event: Event, archive: Archive) -> Answers:
    """Responses while the results go to whoever asks, on contexts it proposed in the SCP role."""

    def planned(request: Request) -> Plan:
        return Plan(ae_title=request.peer.calling_ae_title, audience=archive.audience(request.peer.source_host),
                    store=lambda files: store_over(event.assoc, files))

    return retrieve(event, archive, "C-GET", GET, planned)

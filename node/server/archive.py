"""The node's own results put together for queries and retrieval: what of them whom is shown, and where they may go."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from handlers.query_retrieve import Archive
from node.config import Config
from node.delivery import callbacks, may_have_demo
from node.dicom_client import DicomClient
from node.domain import AuditEvent
from node.results import Audience, Index


def archive(config: Config, engine: sa.Engine, record: Callable[[Sequence[AuditEvent]], None]) -> Archive:
    """What would not be delivered to an address is not shown to it, and does not go there by C-MOVE."""

    def audience(host: str) -> Audience:
        return Audience(demo=may_have_demo(host, config.models.allow_demo_delivery),
                        historical=config.delivery.historical)

    return Archive(
        index=Index(engine, config.node.data_dir), data_dir=config.node.data_dir, ae_title=config.node.ae_title,
        audience=audience, destination=callbacks(config.peers, config.destinations).get,
        store_each=DicomClient(config.node.ae_title).store_each, record=record)

"""C-ECHO: the node is there."""

from __future__ import annotations

from pynetdicom.events import Event

from handlers.statuses import Status


def handle_echo(_event: Event) -> int:
    """Verification (PS3.4 annex A)."""
    return Status.SUCCESS

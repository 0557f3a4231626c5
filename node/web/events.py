"""Server-sent events: a page is told when the worklist changed, and asks for it then."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import sqlalchemy as sa
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from node.database import delivery, transaction, worklist_entry
from node.errors import StorageError

POLL_SECONDS = 0.5
SILENCE_SECONDS = 15.0
"""After this long without news a comment is sent, so that a lost connection is noticed."""

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Pulse:
    """A text that differs whenever the worklist differs; all watchers share one look per interval."""

    def __init__(self, engine: sa.Engine, interval: float = POLL_SECONDS) -> None:
        self._engine = engine
        self._interval = interval
        self._lock = threading.Lock()
        self._value = ""
        self._read_at = float("-inf")

    def read(self) -> str:
        """The current text. While the database does not answer, the last one."""
        with self._lock:
            if time.monotonic() - self._read_at >= self._interval:
                self._value = self._look()
                self._read_at = time.monotonic()
            return self._value

    def _look(self) -> str:
        try:
            with transaction(self._engine) as connection:
                return f"{_mark(connection, worklist_entry)}/{_mark(connection, delivery)}"
        except StorageError:
            return self._value


def _mark(connection: sa.Connection, table: sa.Table) -> str:
    # Commits do not become visible in the order of their updated_at; the sum sees one that came late.
    at = table.c.updated_at
    count, last, total = connection.execute(sa.select(sa.func.count(), sa.func.max(at), sa.func.sum(at))).one()
    return f"{count}-{last or 0:.6f}-{total or 0:.3f}"


def router(pulse: Pulse, stopping: threading.Event) -> APIRouter:
    """``GET /api/events``."""
    routes = APIRouter()

    @routes.get("/api/events")
    async def events(request: Request) -> StreamingResponse:
        return StreamingResponse(_stream(request, pulse, stopping), media_type="text/event-stream", headers=HEADERS)

    return routes


async def _stream(request: Request, pulse: Pulse, stopping: threading.Event) -> AsyncIterator[str]:
    yield "retry: 2000\n\n"
    known, said_at = None, time.monotonic()
    while not stopping.is_set() and not await request.is_disconnected():
        current = await run_in_threadpool(pulse.read)
        if current != known:
            yield f"event: worklist\nid: {current}\ndata: {{}}\n\n"
            known, said_at = current, time.monotonic()
        elif time.monotonic() - said_at > SILENCE_SECONDS:
            yield ": nothing new\n\n"
            said_at = time.monotonic()
        await asyncio.sleep(POLL_SECONDS)

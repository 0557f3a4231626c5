"""A loopback datagram that wakes the clerk when a row appeared, so that nobody waits for its next poll.

It carries nothing and may get lost: the poll finds the row anyway. The clerk's port stands in
its row of ``role_status``.
"""

from __future__ import annotations

import socket
import threading
import time

import sqlalchemy as sa

from node.database import role_status

LOOPBACK = "127.0.0.1"
LOOK_AGAIN_SECONDS = 5.0


class Bell:
    """The clerk's ear: sets ``woken`` whenever somebody rings."""

    def __init__(self, woken: threading.Event) -> None:
        self._woken = woken
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LOOPBACK, 0))
        self.port: int = self._socket.getsockname()[1]

    def listen(self) -> None:
        """Until the process ends."""
        while True:
            self._socket.recv(16)
            self._woken.set()


class Ringer:
    """The receiver's hand: rings for the clerks of this machine. Never raises, never waits."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._ports: tuple[int, ...] = ()
        self._look_at = 0.0

    def ring(self) -> None:
        """Wake every clerk that told its port."""
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_AGAIN_SECONDS
            self._ports = self._look()
        for port in self._ports:
            try:
                self._socket.sendto(b"\0", (LOOPBACK, port))
            except OSError:  # the clerk polls as well
                continue

    def _look(self) -> tuple[int, ...]:
        query = sa.select(role_status.c.detail).where(role_status.c.role == "clerk", role_status.c.ready)
        try:
            with self._engine.connect() as connection:
                details = connection.execute(query).scalars().all()
        except sa.exc.SQLAlchemyError:
            return ()
        return tuple(detail["bell"] for detail in details if "bell" in detail)

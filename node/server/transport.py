"""Sockets that do not stall a peer, and the listener that makes associations on them."""

from __future__ import annotations

import socket
import ssl
import time
import uuid
from typing import Any, ClassVar

from pynetdicom.association import Association
from pynetdicom.timer import Timer
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from handlers.association import THREAD_PREFIX
from handlers.c_store import StreamingDimse
from node.intake import Intake

LARGEST_REQUEST = 1 << 20
"""Bytes of the largest A-ASSOCIATE-RQ that is read; 128 contexts with every syntax take a fifth of it."""
BACKLOG = 128


class PromptSocket(AssociationSocket):  # type: ignore[misc]
    """A pynetdicom socket that acknowledges at once.

    DCMTK and others write a PDU in two pieces and leave Nagle's algorithm on, so the second piece waits
    for our acknowledgement, which the kernel delays by 40 ms. TCP_QUICKACK sends it; the kernel forgets
    that wish, so it is renewed after each read. Reads fill one buffer instead of 4096 bytes at a time.
    """

    @classmethod
    def adopt(cls, plain: AssociationSocket, largest_pdu: int, longest_silence: float) -> PromptSocket:
        """Take over what ``plain`` wraps: making a second one would announce the connection twice.

        ``longest_silence`` is in seconds, and inside a PDU; between PDUs pynetdicom counts.
        """
        prompt = cls.__new__(cls)
        prompt.__dict__.update(plain.__dict__)
        prompt._largest = max(largest_pdu, LARGEST_REQUEST)
        prompt.socket.settimeout(longest_silence)
        prompt.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        prompt._acknowledge()
        return prompt

    def recv(self, nr_bytes: int) -> bytearray:
        """Exactly ``nr_bytes``, or fewer when the peer closes.

        Raises:
            OSError: the connection broke, fell silent, or announces a PDU larger than was negotiated.
        """
        if nr_bytes > self._largest:
            raise ConnectionAbortedError(f"a PDU of {nr_bytes} bytes; at most {self._largest} are read")
        data = bytearray(nr_bytes)
        received = 0
        with memoryview(data) as view:
            while received < nr_bytes and (count := self.socket.recv_into(view[received:])):
                received += count
                self._acknowledge()
        return data if received == nr_bytes else data[:received]

    def _acknowledge(self) -> None:
        if hasattr(socket, "TCP_QUICKACK"):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class SteadyTimer(Timer):  # type: ignore[misc]
    """A pynetdicom timer that does not look at the wall clock: setting that ends no association and keeps none."""

    _began: float | None = None
    _ended: float | None = None

    @property
    def expired(self) -> bool:
        """Whether it was started and has no seconds left."""
        return self.timeout is not None and self._began is not None and self.remaining < 0

    @property
    def remaining(self) -> float:
        """Seconds until it expires; all of them before it is started."""
        if self.timeout is None or self._began is None:
            return float(self.timeout or 1)
        end = time.monotonic() if self._ended is None else self._ended
        return float(self.timeout - (end - self._began))

    def start(self) -> None:
        """Begin, or begin again."""
        self._began, self._ended = time.monotonic(), None

    def stop(self) -> None:
        """Stop counting."""
        self._ended = time.monotonic()


class AssociationMaker(RequestHandler):  # type: ignore[misc]
    """Turns a connection into an association with our socket and our DIMSE provider."""

    def _create_association(self) -> Association:
        association = super()._create_association()
        association.name = f"{THREAD_PREFIX}{uuid.uuid4().hex}"
        association.dul.socket = PromptSocket.adopt(
            association.dul.socket, self.ae.maximum_pdu_size, self.ae.network_timeout)
        association.dul._idle_timer = SteadyTimer(self.ae.network_timeout)
        association.dul.artim_timer = SteadyTimer(association.dul.artim_timer.timeout)
        association.dimse = StreamingDimse(association, self.server.intake)
        return association


class Listener(ThreadedAssociationServer):  # type: ignore[misc]
    """One listening port. ``share_port`` lets several processes listen on it."""

    request_queue_size: ClassVar[int] = BACKLOG

    def __init__(self, *arguments: Any, intake: Intake, share_port: bool, **more: Any) -> None:
        self.intake = intake
        self._share_port = share_port
        super().__init__(*arguments, **more)

    def server_bind(self) -> None:
        """Bind, as the base does, with SO_REUSEPORT where the port is shared."""
        if self._share_port:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection. A TLS handshake is left to its first read, where it holds nobody else up."""
        connection, address = self.socket.accept()
        context: ssl.SSLContext | None = self.ssl_context
        if context is not None:
            connection = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

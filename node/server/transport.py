"""Sockets that do not stall a peer, and the listener that makes associations on them."""

from __future__ import annotations

import logging
import socket
import ssl
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from handlers.association import THREAD_PREFIX, source_host
from handlers.c_store import StreamingDimse
from node.fast_store import FastAssociation, SteadyTimer
from node.intake import Intake
from node.server.standard import StandardAssociation, StandardUpperLayer
from node.tls import handshake_failure

log = logging.getLogger(__name__)

REQUEST_SECONDS = 30.0
"""How long a connection may take for its TLS handshake, and then for its request (ARTIM, PS3.8 section 9.1.5)."""
KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 6}
"""Seconds of silence before the kernel asks a peer for a sign of life, between two such questions, and how many
of them may stay unanswered. Firewalls forget a silent connection, some after a minute or two."""
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


def keep_alive(connection: socket.socket) -> None:
    """Let the kernel find out that a silent peer is gone, and keep firewalls on the way from forgetting it."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class AssociationMaker(RequestHandler):  # type: ignore[misc]
    """Turns a connection into an association with our socket and our DIMSE provider."""

    def _create_association(self) -> Association:
        association = super()._create_association()
        association.name = f"{THREAD_PREFIX}{uuid.uuid4().hex}"
        if self.server.is_fast:
            return FastAssociation.adopt(association, self.server.intake)
        association.__class__, association.dul.__class__ = StandardAssociation, StandardUpperLayer
        association.dul.socket = PromptSocket.adopt(
            association.dul.socket, self.ae.maximum_pdu_size, self.ae.network_timeout)
        association.dul._idle_timer = SteadyTimer(self.ae.network_timeout)
        association.dul.artim_timer = SteadyTimer(association.dul.artim_timer.timeout)
        association.dimse = StreamingDimse(association, self.server.intake)
        return association


class Listener(ThreadedAssociationServer):  # type: ignore[misc]
    """One listening port. ``share_port`` lets several processes listen on it; ``is_fast`` chooses
    the engine.

    ``on_no_handshake`` is told the address of a peer with which TLS failed, and why.
    """

    request_queue_size: ClassVar[int] = BACKLOG

    def __init__(
        self, *arguments: Any, intake: Intake, share_port: bool, is_fast: bool,
        on_no_handshake: Callable[[str, str], None], **more: Any,
    ) -> None:
        self.intake = intake
        self.is_fast = is_fast
        self._share_port = share_port
        self._on_no_handshake = on_no_handshake
        self._shaking: set[ssl.SSLSocket] = set()
        self._closing = False
        super().__init__(*arguments, **more)

    def server_bind(self) -> None:
        """Bind, as the base does, with SO_REUSEPORT where the port is shared."""
        if self._share_port:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection. A TLS handshake is left to its own thread, where it holds nobody else up."""
        connection, address = self.socket.accept()
        keep_alive(connection)
        context: ssl.SSLContext | None = self.ssl_context
        if context is not None:
            connection = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def finish_request(self, request: socket.socket, client_address: Any) -> None:
        """Runs on the connection's own thread: TLS first, then an association."""
        if isinstance(request, ssl.SSLSocket) and not self._shook_hands(request, client_address):
            self.shutdown_request(request)
        else:
            super().finish_request(request, client_address)

    def server_close(self) -> None:
        """Stop listening, and cut handshakes that are under way."""
        self._closing = True
        for connection in tuple(self._shaking):
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        super().server_close()

    def _shook_hands(self, connection: ssl.SSLSocket, address: Any) -> bool:
        seconds = self.ae.acse_timeout
        connection.settimeout(seconds)
        self._shaking.add(connection)
        if self._closing:
            return False
        try:
            connection.do_handshake()
        except TimeoutError:
            self._on_no_handshake(source_host(address), f"no TLS handshake within {seconds:g} s")
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            log.info("%s left before TLS began", source_host(address), extra={"action": "tls.left"})
        except ssl.SSLError as error:
            self._on_no_handshake(source_host(address), handshake_failure(error))
        except OSError as error:
            log.info("%s left before TLS began: %s", source_host(address), error, extra={"action": "tls.left"})
        else:
            return True
        finally:
            self._shaking.discard(connection)
        return False

"""The web server inside a role process: a thread, a bound port, and a way to stop."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI

from node.errors import ConfigurationError
from node.observability import supervised_thread

GRACE_SECONDS = 2
"""How long requests in progress may take at the end."""


@dataclass(frozen=True)
class WebServer:
    """A running server. ``port`` is the one really bound."""

    thread: threading.Thread
    port: int
    _server: uvicorn.Server
    _stopping: threading.Event

    def stop(self) -> None:
        """End open event streams, finish requests, and wait for the thread."""
        self._stopping.set()
        self._server.should_exit = True
        self.thread.join(GRACE_SECONDS + 3)


def serve(app: FastAPI, host: str, port: int, on_failure: Callable[[], None] = lambda: None) -> WebServer:
    """Serve ``app`` from a daemon thread; connections are taken from the moment this returns.

    Port 0 takes a free one. Signals stay with the caller. ``on_failure`` is called when the
    server ends by an error.

    Raises:
        ConfigurationError: the address cannot be bound.
    """
    listener = _bind(host, port)
    server = uvicorn.Server(uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", server_header=False, proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    ))
    thread = supervised_thread("web", lambda: server.run(sockets=[listener]), on_failure)
    return WebServer(thread, listener.getsockname()[1], server, app.state.stopping)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise ConfigurationError(
            f"web.host = {host!r}, web.port = {port}: cannot be bound ({error.strerror}); choose a free address"
        ) from error

"""The web application put together: routes, security headers, and what an unreachable database answers."""

from __future__ import annotations

import ipaddress
import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.errors import StorageError
from node.web import api, events, heat_maps, pages
from node.web.readiness import Readiness
from node.web.words import Words

log = logging.getLogger(__name__)

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

LOOPBACK_NAMES = ("127.0.0.1", "localhost")


def create_app(
    engine: sa.Engine, data_dir: Path, readiness: Readiness, *,
    notices: Sequence[str] = (), allowed_hosts: Sequence[str] = ("*",), language: str = "en",
) -> FastAPI:
    """The application over ``engine``. ``notices`` are stamped on every page, such as the demo notice.

    Pages are in ``language``; the API is not.
    """
    app = FastAPI(title="DICOM AI node", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.stopping = threading.Event()
    app.include_router(api.router(engine, data_dir, readiness))
    app.include_router(heat_maps.router(engine, data_dir))
    app.include_router(events.router(events.Pulse(engine), app.state.stopping))
    app.include_router(pages.router(engine, data_dir, readiness, notices, Words(language)))
    app.mount("/static", StaticFiles(packages=[("node.web", "static")]))
    app.add_exception_handler(StorageError, _database_down)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(allowed_hosts))
    app.add_middleware(SecurityHeaders)
    return app


def allowed_hosts(web_host: str) -> tuple[str, ...]:
    """Host headers to answer: on loopback only loopback names, so that no foreign page can rebind its name to us."""
    try:
        loopback = ipaddress.ip_address(web_host).is_loopback
    except ValueError:
        loopback = web_host == "localhost"
    return (*LOOPBACK_NAMES, web_host) if loopback and ":" not in web_host else ("*",)


async def _database_down(request: Request, error: Exception) -> JSONResponse:
    log.error("The database did not answer %s", request.url.path, exc_info=error, extra={"action": "web_no_database"})
    return JSONResponse({"error": "the database does not answer; try again"}, status_code=503)


class SecurityHeaders:
    """Adds :data:`SECURITY_HEADERS` to every answer that has not set them itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)

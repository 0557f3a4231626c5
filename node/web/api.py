"""The JSON endpoints, and those that machines poll."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from node import worklist
from node.database import now, transaction
from node.domain import JSON
from node.web import dossier, metrics
from node.web.readiness import Readiness

AuditLimit = Annotated[int, Query(ge=1, le=10000)]
EntryLimit = Annotated[int | None, Query(ge=1)]


def router(engine: sa.Engine, data_dir: Path, readiness: Readiness) -> APIRouter:
    """Routes over ``engine``."""
    routes = APIRouter()
    registry = metrics.registry(engine, data_dir)

    @routes.get("/healthz")
    def healthz() -> JSON:
        return {"alive": True}

    @routes.get("/readyz")
    def readyz() -> JSONResponse:
        ready, detail = readiness()
        return JSONResponse(detail, status_code=200 if ready else 503)

    @routes.get("/metrics")
    def prometheus() -> Response:
        return Response(metrics.text(registry), media_type=CONTENT_TYPE_LATEST)

    @routes.get("/api/worklist")
    def entries(limit: EntryLimit = None) -> JSON:
        with transaction(engine) as connection:
            found = worklist.entries(connection, now=now(), limit=limit)
        return {"entries": [worklist.to_json(entry) for entry in found]}

    @routes.get("/api/studies/{study_uid}")
    def study(study_uid: str) -> JSONResponse:
        with transaction(engine) as connection:
            found = dossier.read(connection, study_uid)
        if found is None:
            return JSONResponse({"error": "no instance of this study was received"}, status_code=404)
        return JSONResponse(found)

    @routes.get("/api/audit")
    def events(study: str = "", limit: AuditLimit = 1000) -> JSON:
        with transaction(engine) as connection:
            return {"events": dossier.audit_events(connection, study, limit)}

    return routes

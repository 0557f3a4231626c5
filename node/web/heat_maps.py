"""Heat maps of a study: what the dossier says of them, and their pictures."""

from __future__ import annotations

from pathlib import Path as File
from typing import Annotated
from urllib.parse import quote

import sqlalchemy as sa
from fastapi import APIRouter, Path, Response
from fastapi.responses import JSONResponse

from node import heat_maps
from node.database import transaction
from node.domain import JSON
from node.heat_maps import View

Version = Annotated[int, Path(ge=0, le=1_000_000)]

TOLD = ("finding", "version", "state", "reason", "sop_instance_uid", "frame", "method", "model", "deletion_drop",
        "needed_drop", "localisation", "updated_at")
"""Columns of table ``heat_map`` that the dossier shows; the cells and the row of the instance stay inside."""


def of_study(connection: sa.Connection, study_uid: str) -> list[JSON]:
    """Every heat map of a study, the newest version first; ``pictures`` are addresses by view."""
    return [{**{name: getattr(row, name) for name in TOLD}, "pictures": _pictures(row)}
            for row in heat_maps.of_study(connection, study_uid)]


def _pictures(row: heat_maps.Row) -> dict[str, str]:
    base = f"/studies/{quote(row.study_instance_uid, safe='')}/heat-maps/{row.version}/{quote(row.finding, safe='')}"
    return {view.value: f"{base}/{view.value}.png" for view in heat_maps.views(row)}


def router(engine: sa.Engine, data_dir: File) -> APIRouter:
    """``GET /studies/{uid}/heat-maps/{version}/{finding}/{view}.png``."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/studies/{study_uid}/heat-maps/{version}/{finding}/{view}.png")
    def picture(study_uid: str, version: Version, finding: str, view: View) -> Response:
        """Found by its row: nothing that was asked for becomes part of a path."""
        with transaction(engine) as connection:
            rows = [row for row in heat_maps.of_study(connection, study_uid)
                    if (row.version, row.finding) == (version, finding) and view in heat_maps.views(row)]
        png = _read(data_dir, rows[0], view) if rows else None
        if png is None:
            return JSONResponse({"error": "no such picture, or it was removed with its image"}, status_code=404)
        return Response(png, media_type="image/png")

    return routes


def _read(data_dir: File, row: heat_maps.Row, view: View) -> bytes | None:
    try:
        return heat_maps.place(data_dir, row.version, row.instance_id, row.frame, row.finding, view).read_bytes()
    except OSError:
        return None

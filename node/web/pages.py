"""The pages people look at, rendered here so that they work with no script at all."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import jinja2
import sqlalchemy as sa
from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from node import __version__, worklist
from node.database import delivery, instance, role_status, transaction, worklist_entry
from node.database import now as database_now
from node.domain import DEMO_NOTICE, DeliveryState, EntryState, InstanceState, Presence, Priority, WorklistEntry
from node.web import dossier
from node.web.api import AuditLimit
from node.web.readiness import Readiness
from node.web.words import Words, is_raised, moment, number, pretty

ROWS_SHOWN = 200
INSTANCES_SHOWN = 100
DEFAULT_HOURS = 24

TROUBLED_INSTANCES = (InstanceState.CONFLICT, InstanceState.UNREADABLE)


class Show(Enum):
    """Which part of the worklist a page shows; the order stays the same."""

    ALL = "all"
    #: Placed higher by AI than by the order.
    RAISED = "raised"
    #: Not evaluable, failed or withdrawn: read without AI.
    WITHOUT_AI = "without_ai"


@dataclass(frozen=True)
class Board:
    """What the worklist page shows, and how much it leaves out."""

    rows: Sequence[WorklistEntry]
    total: int
    older: int
    priorities: Mapping[Priority, int]
    states: Mapping[EntryState, int]
    raised: int
    without_ai: int
    flag_times: Sequence[int]


def environment(notices: Sequence[str], words: Words) -> jinja2.Environment:
    """Templates with everything escaped, in the language of ``words``; a name a page does not know is an error."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("node.web"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.i18n"],
    )
    # The extension of Jinja that puts these two methods there declares them nowhere.
    translated: Any = made
    translated.install_gettext_callables(words.gettext, words.ngettext, newstyle=True)
    made.filters |= {"duration": words.duration, "clock": words.clock, "moment": moment, "json": pretty}
    made.globals |= {
        "version": __version__, "notices": tuple(notices), "words": words, "number": number, "Presence": Presence,
        "Show": Show, "EntryState": EntryState, "Priority": Priority, "DEMO_NOTICE": DEMO_NOTICE,
    }
    return made


def router(engine: sa.Engine, data_dir: Path, readiness: Readiness, notices: Sequence[str], words: Words) -> APIRouter:
    """``/``, ``/studies/{uid}``, ``/audit`` and ``/operations``."""
    routes = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)
    templates = environment(notices, words)

    def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
        return HTMLResponse(templates.get_template(template).render(**values), status_code=status)

    @routes.get("/")
    def live_worklist(
        show: Show = Show.ALL, hours: Annotated[int, Query(ge=0)] = DEFAULT_HOURS, fragment: bool = False
    ) -> HTMLResponse:
        now = database_now()
        with transaction(engine) as connection:
            board = read_board(connection, now, show, hours)
        template = "board.html" if fragment else "worklist.html"
        return page(template, board=board, now=now, show=show, hours=hours, **read_readiness(readiness))

    @routes.get("/studies/{study_uid}")
    def study(study_uid: str) -> HTMLResponse:
        with transaction(engine) as connection:
            found = dossier.read(connection, study_uid)
            entry = worklist.entry(connection, study_uid)
        if found is None or entry is None:
            return page("missing.html", status=404, study_uid=study_uid)
        return page("study.html", dossier=found, entry=entry, now=database_now(), instances_shown=INSTANCES_SHOWN)

    @routes.get("/audit")
    def audit_trail(study: str = "", limit: AuditLimit = 200) -> HTMLResponse:
        with transaction(engine) as connection:
            events = dossier.audit_events(connection, study, limit)
        return page("audit.html", events=events[::-1], study=study, limit=limit)

    @routes.get("/operations")
    def operations() -> HTMLResponse:
        with transaction(engine) as connection:
            state = read_operations(connection)
        free = shutil.disk_usage(data_dir).free
        return page("operations.html", free=free, **read_readiness(readiness), **state)

    return routes


def read_readiness(readiness: Readiness) -> dict[str, Any]:
    """Whether the node can work, and what it lacks."""
    is_ready, detail = readiness()
    return {"is_ready": is_ready, "problems": detail.get("missing", []), "refused": detail.get("refused", {})}


def read_board(connection: sa.Connection, now: float, show: Show, hours: int) -> Board:
    """The part of the worklist that arrived in the last ``hours`` (0 is all)."""
    since = now - hours * 3600 if hours else 0.0
    recent = worklist.overview(connection, now=now, since=since)
    older = connection.execute(
        sa.select(sa.func.count()).select_from(worklist_entry).where(worklist_entry.c.waiting_since <= since)
    ).scalar_one()
    raised = [entry for entry in recent if is_raised(entry)]
    without_ai = [entry for entry in recent if entry.state in worklist.WITHOUT_AI]
    chosen = {Show.ALL: recent, Show.RAISED: raised, Show.WITHOUT_AI: without_ai}[show]
    shown = [entry.study_instance_uid for entry in chosen[:ROWS_SHOWN]]
    return Board(
        rows=worklist.entries(connection, now=now, only=shown), total=len(chosen), older=older,
        priorities=Counter(entry.priority for entry in recent), states=Counter(entry.state for entry in recent),
        raised=len(raised), without_ai=len(without_ai),
        flag_times=sorted(entry.time_to_flag_ms for entry in recent if entry.time_to_flag_ms is not None),
    )


def read_operations(connection: sa.Connection) -> dict[str, Any]:
    """Processes, counts by state, and what an operator has to look at."""
    columns = instance.c
    troubled = sa.select(
        columns.id, columns.study_instance_uid, columns.sop_instance_uid, columns.state, columns.reason,
        columns.calling_ae_title, columns.received_at,
    ).where(columns.state.in_([state.value for state in TROUBLED_INSTANCES])).order_by(columns.id.desc()).limit(100)
    dead = sa.select(delivery).where(delivery.c.state == DeliveryState.FAILED.value)
    return {
        "roles": _plain(connection, sa.select(role_status).order_by(role_status.c.slot)),
        "counts": {
            "Studies": _counts(connection, worklist_entry.c.state),
            "Instances": _counts(connection, columns.state),
            "Deliveries": _counts(connection, delivery.c.state),
        },
        "dead_letters": _plain(connection, dead.order_by(delivery.c.updated_at.desc()).limit(100)),
        "troubled": _plain(connection, troubled),
    }


def _plain(connection: sa.Connection, query: sa.Select[Any]) -> list[dict[str, Any]]:
    return [dossier.plain(row) for row in connection.execute(query).mappings()]


def _counts(connection: sa.Connection, column: sa.Column[str]) -> dict[str, int]:
    query = sa.select(column, sa.func.count()).group_by(column).order_by(column)
    return dict(connection.execute(query).tuples().all())

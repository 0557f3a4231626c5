"""Everything the node holds about one study, as JSON for ``GET /api/studies/{uid}`` and its page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from node import audit, worklist
from node.database import commitment, delivery, instance, report, run, worklist_entry
from node.domain import JSON
from node.web import heat_maps

#: What is shown of an instance; its place on disk stays inside.
INSTANCE_COLUMNS = (
    "id", "sop_instance_uid", "sop_class_uid", "series_instance_uid", "transfer_syntax_uid", "modality", "size",
    "calling_ae_title", "called_ae_title", "source_host", "received_at", "state", "evidence", "reason",
)

#: What is shown of the findings model's answer as it came: its words only leave after the guardrails, as ``notes``.
FINDINGS_SHOWN = ("state", "reason", "model")

REPORT_COLUMNS = ("sop_instance_uid", "version", "kind", "sop_class_uid", "series_instance_uid", "created_at")


def read(connection: sa.Connection, study_uid: str) -> JSON | None:
    """The dossier of a study, or None when no instance of it ever arrived."""
    entry = worklist.entry(connection, study_uid)
    if entry is None:
        return None
    notes = sa.select(worklist_entry.c.dossier).where(worklist_entry.c.study_instance_uid == study_uid)
    return {
        "entry": worklist.to_json(entry),
        "notes": connection.execute(notes).scalar_one(),
        "versions": [_guarded(row) for row in _rows(
            connection, sa.select(run).order_by(run.c.version.desc()), run, study_uid)],
        "instances": _rows(
            connection, _columns(instance, INSTANCE_COLUMNS).order_by(instance.c.id), instance, study_uid),
        "reports": _rows(
            connection, _columns(report, REPORT_COLUMNS).order_by(report.c.created_at), report, study_uid),
        "deliveries": _rows(
            connection, sa.select(delivery).order_by(delivery.c.version.desc(), delivery.c.destination),
            delivery, study_uid),
        "commitments": _rows(
            connection, sa.select(commitment).order_by(commitment.c.requested_at), commitment, study_uid),
        "heat_maps": [plain(told) for told in heat_maps.of_study(connection, study_uid)],
        "audit": audit_events(connection, study_uid),
    }


def _guarded(version: JSON) -> JSON:
    """A version without what the findings model wrote before any rule had read it."""
    results = dict(version["results"])
    if "findings" in results:
        results["findings"] = {name: results["findings"].get(name) for name in FINDINGS_SHOWN}
    return {**version, "results": results}


def audit_events(connection: sa.Connection, study_uid: str = "", limit: int = 0) -> list[JSON]:
    """Audit events in time order, of one study or of all, the newest ``limit`` (0 is all)."""
    return [plain(event) for event in audit.events(connection, study_uid, limit)]


def plain(row: Any) -> JSON:
    """A row as JSON: points in time become ISO 8601 texts in UTC."""
    return {name: _iso(value) if name == "at" or name.endswith("_at") else value for name, value in row.items()}


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _columns(table: sa.Table, names: tuple[str, ...]) -> sa.Select[Any]:
    return sa.select(*(table.c[name] for name in names))


def _rows(connection: sa.Connection, query: sa.Select[Any], table: sa.Table, study_uid: str) -> list[JSON]:
    found = connection.execute(query.where(table.c.study_instance_uid == study_uid))
    return [plain(row) for row in found.mappings()]

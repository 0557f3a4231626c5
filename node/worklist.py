"""The worklist: one entry per study, that only moves forward, in an order that AI can only raise.

``order_priority`` comes from the order and ``ai_priority`` from triage; the more urgent of the
two places the study. Inside a class the longest wait comes first. A ROUTINE study that waited
for :data:`PROMOTION_SECONDS` is placed as a HIGH one that arrives at that moment, so that a
stream of flagged studies cannot starve it. Studies outside the fresh lane come last.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, TypedDict, Unpack

import sqlalchemy as sa

from node.database import delivery, insert_ignore, study, worklist_entry
from node.database import now as database_now
from node.domain import (
    JSON,
    Certainty,
    CodedConcept,
    DeliveryState,
    EntryState,
    FindingsState,
    Lane,
    OperatingPoint,
    Presence,
    Priority,
    ReportState,
    Side,
    StudyFinding,
    WorklistEntry,
)

PROMOTION_SECONDS = 4 * 3600.0
"""A ROUTINE study that waited longer than this is placed among the HIGH ones."""

WITHOUT_AI = (EntryState.NOT_EVALUABLE, EntryState.WITHDRAWN, EntryState.FAILED)
"""States in which a study has the place it would have without AI."""

WEAKEST_FIRST = (
    DeliveryState.FAILED, DeliveryState.QUEUED, DeliveryState.SENT, DeliveryState.STORED, DeliveryState.COMMITTED,
)
"""Proof of delivery from none to full; a study shows the weakest of its objects and destinations."""


class Phase(IntEnum):
    """Which part of the sequence wrote the entry last; within a version it only grows."""

    RECEIVED = 0
    #: Early triage of some of the images.
    PROVISIONAL = 10
    #: Triage of the whole study, or the decision that no model may speak about it.
    RANKED = 20
    FINDINGS = 30
    GUARDED = 40
    REPORTED = 50
    DELIVERED = 60


class Changes(TypedDict, total=False):
    """What a stage may set. ``decisive_at`` is the ``received_at`` of the decisive instance."""

    state: EntryState
    reason: str
    ai_priority: Priority | None
    findings: Sequence[StudyFinding]
    findings_state: FindingsState
    report_state: ReportState
    decisive_at: float | None
    demo_model: bool
    #: Added to what the dossier of this version holds, key by key.
    dossier: JSON


def open_entry(connection: sa.Connection, study_uid: str, received_at: float) -> bool:
    """Put a study on the list as its first instance arrives; False when it is there already."""
    return insert_ignore(
        connection, worklist_entry, study_instance_uid=study_uid, waiting_since=received_at, updated_at=database_now()
    )


def advance(
    connection: sa.Connection, study_uid: str, version: int, phase: Phase, **changes: Unpack[Changes]
) -> bool:
    """Move the entry forward to (version, phase); False when it is further already, or not there.

    A new version starts with nothing found, nothing written and an empty dossier. The first
    commit with an ``ai_priority`` stops the clock of ``time_to_flag_ms`` and fixes the decisive
    instance. A provisional result never lowers ``ai_priority``: more images may follow.
    Early triage of late images belongs to the version that is being collected, not to the last one.
    """
    columns = worklist_entry.c
    is_forward = sa.or_(columns.version < version, sa.and_(columns.version == version, columns.phase <= phase))
    values = _fresh_version(version) | _stored(changes) | _clock(changes) | _urgency(changes, phase)
    values |= {"version": version, "phase": int(phase), "updated_at": database_now()}
    this_entry = columns.study_instance_uid == study_uid
    applied = connection.execute(sa.update(worklist_entry).where(this_entry, is_forward).values(values)).rowcount == 1
    if applied and "dossier" in changes:
        # The UPDATE above holds the row's lock, so nothing is lost between this read and write.
        known = connection.execute(sa.select(columns.dossier).where(this_entry)).scalar_one()
        connection.execute(
            sa.update(worklist_entry).where(this_entry).values(dossier={**known, **changes["dossier"]})
        )
    return applied


def has_rank(connection: sa.Connection, study_uid: str, version: int) -> bool:
    """True when triage of this version, the first is 1, or of a later one has ended."""
    columns = worklist_entry.c
    further = sa.or_(columns.version > version, sa.and_(columns.version == version, columns.phase >= Phase.RANKED))
    query = sa.select(sa.literal(1)).where(columns.study_instance_uid == study_uid, further)
    return version > 0 and connection.execute(query).first() is not None


def mark_notified(connection: sa.Connection, study_uid: str, at: float) -> bool:
    """Stop the clock of ``time_to_notify_ms`` at the first proof from outside; later ones change nothing."""
    columns = worklist_entry.c
    first = sa.update(worklist_entry).where(columns.study_instance_uid == study_uid, columns.notified_at.is_(None))
    return connection.execute(first.values(notified_at=at, updated_at=database_now())).rowcount == 1


def _fresh_version(version: int) -> dict[str, Any]:
    columns = worklist_entry.c
    start: dict[str, Any] = {
        "findings_state": FindingsState.PENDING.value, "report_state": ReportState.PENDING.value,
        "reason": "", "dossier": {}, "findings": [],
    }
    return {
        name: sa.case((columns.version < version, sa.literal(value, columns[name].type)), else_=columns[name])
        for name, value in start.items()
    }


def _stored(changes: Changes) -> dict[str, Any]:
    values: dict[str, Any] = {
        name: changes[name].value for name in ("state", "findings_state", "report_state") if name in changes
    }
    values |= {name: changes[name] for name in ("reason", "demo_model") if name in changes}
    if "findings" in changes:
        values["findings"] = [finding_to_json(finding) for finding in changes["findings"]]
    return values


def _clock(changes: Changes) -> dict[str, Any]:
    if changes.get("ai_priority") is None or changes.get("state") is EntryState.NOT_EVALUABLE:
        return {}
    columns = worklist_entry.c
    decisive = sa.case(
        (columns.flagged_at.is_(None), sa.literal(changes.get("decisive_at"), columns.decisive_at.type)),
        else_=columns.decisive_at,
    )
    return {"flagged_at": sa.func.coalesce(columns.flagged_at, database_now()), "decisive_at": decisive}


def _urgency(changes: Changes, phase: Phase) -> dict[str, Any]:
    given = changes.get("ai_priority")
    new = None if given is None or changes.get("state") in WITHOUT_AI else int(given)
    if phase is Phase.PROVISIONAL:
        known = worklist_entry.c.ai_priority
        return {} if new is None else {"ai_priority": sa.case((known < new, known), else_=new)}
    return {"ai_priority": new} if "ai_priority" in changes or changes.get("state") in WITHOUT_AI else {}


def overview(connection: sa.Connection, *, now: float, since: float = 0.0) -> list[WorklistEntry]:
    """The worklist in order, without findings, which are most of the work of reading it.

    Only what arrived after ``since``; ``now`` and ``since`` are in seconds since 1970 UTC.
    """
    return _sorted(connection, _query(worklist_entry.c.waiting_since > since), now)


def entries(
    connection: sa.Connection, *, now: float, limit: int | None = None, only: Sequence[str] | None = None
) -> list[WorklistEntry]:
    """The worklist in order: the first ``limit`` of it, those with the study UIDs of ``only``, or all."""
    if limit is not None:
        only = [entry.study_instance_uid for entry in overview(connection, now=now)[:limit]]
    wanted = sa.true() if only is None else worklist_entry.c.study_instance_uid.in_(only)
    return _sorted(connection, _query(wanted, worklist_entry.c.findings), now)


def _sorted(connection: sa.Connection, query: sa.Select[Any], now: float) -> list[WorklistEntry]:
    found = [_entry(row) for row in connection.execute(query)]
    return sorted(found, key=lambda entry: order_key(entry, now))


def entry(connection: sa.Connection, study_uid: str) -> WorklistEntry | None:
    """The entry of one study, or None."""
    found = entries(connection, now=0, only=[study_uid])
    return found[0] if found else None


def order_key(entry: WorklistEntry, now: float) -> tuple[int, float, str]:
    """Sorts first what is to be read first. Depends on urgency and wait alone, never on what AI could not do."""
    waiting_since = entry.waiting_since.timestamp()
    if entry.priority is Priority.ROUTINE and now - waiting_since > PROMOTION_SECONDS:
        return int(Priority.HIGH), waiting_since + PROMOTION_SECONDS, entry.study_instance_uid
    return int(entry.priority), waiting_since, entry.study_instance_uid


def is_promoted(entry: WorklistEntry, now: float) -> bool:
    """True when waiting alone moved the study up one class."""
    return order_key(entry, now)[0] != entry.priority


def _priority(lane: Lane, order_priority: Priority, ai_priority: Priority | None) -> Priority:
    if lane is not Lane.FRESH:
        return Priority.HISTORICAL
    return order_priority if ai_priority is None else Priority.higher(order_priority, ai_priority)


def _query(condition: sa.ColumnElement[bool], *more: sa.ColumnElement[Any]) -> sa.Select[Any]:
    columns = worklist_entry.c
    ranks = {state.value: rank for rank, state in enumerate(WEAKEST_FIRST)}
    weakest = (
        sa.select(sa.func.min(sa.case(ranks, value=delivery.c.state, else_=None)))
        .where(delivery.c.study_instance_uid == columns.study_instance_uid, delivery.c.version == columns.version)
        .scalar_subquery()
    )
    texts = [sa.func.coalesce(study.c[name], "").label(name) for name in ("patient_id", "accession_number", "modality")]
    large = (columns.findings, columns.dossier)
    small = [column for column in columns if column not in large]
    # An entry stays on the list whatever else is missing, hence the outer join.
    with_study = worklist_entry.outerjoin(study, study.c.study_instance_uid == columns.study_instance_uid)
    return sa.select(
        *small, *more, *texts, weakest.label("weakest"),
        sa.func.coalesce(study.c.lane, Lane.FRESH.value).label("lane"),
        sa.func.coalesce(study.c.order_priority, int(Priority.ROUTINE)).label("order_priority"),
    ).select_from(with_study).where(condition)


def _entry(row: Any) -> WorklistEntry:
    state, lane, order_priority = EntryState(row.state), Lane(row.lane), Priority(row.order_priority)
    ai_priority = None if row.ai_priority is None else Priority(row.ai_priority)
    evaluable = state is not EntryState.NOT_EVALUABLE
    return WorklistEntry(
        study_instance_uid=row.study_instance_uid, patient_id=row.patient_id, accession_number=row.accession_number,
        modality=row.modality, lane=lane, version=row.version, state=state, reason=row.reason,
        order_priority=order_priority, ai_priority=ai_priority, priority=_priority(lane, order_priority, ai_priority),
        findings=tuple(finding_from_json(value) for value in getattr(row, "findings", ())),
        findings_state=FindingsState(row.findings_state), report_state=ReportState(row.report_state),
        delivery=DeliveryState.NONE if row.weakest is None else WEAKEST_FIRST[row.weakest],
        waiting_since=datetime.fromtimestamp(row.waiting_since, UTC),
        time_to_flag_ms=_milliseconds(row.decisive_at, row.flagged_at) if evaluable else None,
        time_to_notify_ms=_milliseconds(row.decisive_at, row.notified_at) if evaluable else None,
        demo_model=row.demo_model,
    )


def _milliseconds(start: float | None, end: float | None) -> int | None:
    # Two machines may disagree about the time, so a clock never shows less than nothing.
    return None if start is None or end is None else max(0, round((end - start) * 1000))


def to_json(entry: WorklistEntry) -> JSON:
    """The entry as ``GET /api/worklist`` gives it."""
    return {
        "study_instance_uid": entry.study_instance_uid, "accession_number": entry.accession_number,
        "patient_id": entry.patient_id, "modality": entry.modality, "lane": entry.lane.value,
        "priority": entry.priority.name, "order_priority": entry.order_priority.name,
        "ai_priority": None if entry.ai_priority is None else entry.ai_priority.name,
        "state": entry.state.value, "reason": entry.reason,
        "findings": [finding_to_json(finding) for finding in entry.findings],
        "findings_state": entry.findings_state.value, "report_state": entry.report_state.value,
        "delivery": entry.delivery.value, "time_to_flag_ms": entry.time_to_flag_ms,
        "time_to_notify_ms": entry.time_to_notify_ms, "demo_model": entry.demo_model, "version": entry.version,
        "waiting_since": entry.waiting_since.isoformat(),
    }


def finding_to_json(finding: StudyFinding) -> JSON:
    """A finding as it is stored and shown; :func:`finding_from_json` gives the same finding back."""
    point = finding.operating_point
    return {
        "finding": finding.finding, "concept": finding.concept.meaning, "code": finding.concept.code,
        "scheme": finding.concept.scheme, "presence": finding.presence.value, "score": finding.score,
        "side": finding.side.value, "certainty": None if finding.certainty is None else finding.certainty.value,
        "agreed": finding.agreed, "reason": finding.reason, "sop_instance_uid": finding.sop_instance_uid,
        "frame": finding.frame, "tile": finding.tile,
        "present_above": None if point is None else point.present_above,
        "absent_below": None if point is None else point.absent_below,
        "site": finding.site.meaning, "site_code": finding.site.code, "site_scheme": finding.site.scheme,
        "names": dict(finding.names),
    }


def finding_from_json(value: JSON) -> StudyFinding:
    """The inverse of :func:`finding_to_json`."""
    above, below = value["present_above"], value["absent_below"]
    return StudyFinding(
        finding=value["finding"], concept=CodedConcept(value["scheme"], value["code"], value["concept"]),
        site=CodedConcept(value["site_scheme"], value["site_code"], value["site"]),
        presence=Presence(value["presence"]), score=value["score"],
        operating_point=None if above is None else OperatingPoint(present_above=above, absent_below=below),
        side=Side(value["side"]), certainty=None if value["certainty"] is None else Certainty(value["certainty"]),
        agreed=value["agreed"], sop_instance_uid=value["sop_instance_uid"], reason=value["reason"],
        frame=value.get("frame", 1), tile=value.get("tile", 0),  # of entries that an older version wrote
        names=value.get("names", {}),
    )

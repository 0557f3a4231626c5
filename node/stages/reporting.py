"""Write, deliver and notify: one object per run and kind, checked before it leaves."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pydicom
import sqlalchemy as sa
from pydicom.dataset import Dataset

from node import delivery, results, worklist
from node.database import insert_ignore, now, reading, report, run
from node.domain import (
    JSON,
    AnalysisResult,
    ReportIdentity,
    ReportKind,
    ReportObject,
    ReportState,
    TriageResult,
)
from node.errors import ReportInvalid, StorageError
from node.stages import pictures
from node.stages.analysis import evaluated
from node.stages.desk import Desk, RunRef, RunState, dump, load_run, local, parse
from node.stages.reading import spoke_demo
from sr_writer import checks, measurement_report, text_report

Builder = Callable[[AnalysisResult, Dataset, Sequence[Dataset], ReportIdentity], Dataset]

BUILDERS: Mapping[ReportKind, tuple[Builder, int]] = {
    ReportKind.MEASUREMENT: (measurement_report.build, 9901),
    ReportKind.TEXT: (text_report.build, 9902),
}
"""How each kind is built, and its Series Number."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Heads of the evidence, read again: the decisive image first."""

    decisive: Dataset
    all: Sequence[Dataset]


def write(desk: Desk, ref: RunRef) -> JSON:
    """Build each object once, check it, and store it; a repeat of this stage finds what is there."""
    state = load_run(desk.engine, ref)
    triaged: TriageResult = parse(TriageResult, state.results["triage"]["triage"])
    if triaged.shadow:
        return {"withheld": "shadow mode: no valid operating points", "reports": []}
    analysis = _leaving(parse(AnalysisResult, state.results["guard"]["analysis"]))
    source = _source(desk, state)
    section = desk.pipeline(state.results["plan"]["pipeline"])
    written = []
    for kind in section.reports or desk.config.reports.kinds:
        try:
            written.append(_written(desk, ref, kind, analysis, source))
        except ReportInvalid as error:
            return {"failed": f"{kind.value}: {error}", "reports": []}
    return {"reports": [dump(ReportObject, item) for item in written]}


def _leaving(analysis: AnalysisResult) -> AnalysisResult:
    """What may stand in an object: nothing that is for the board only."""
    return replace(analysis, findings=tuple(found for found in analysis.findings if not found.board_only))


def _written(
    desk: Desk, ref: RunRef, kind: ReportKind, analysis: AnalysisResult, source: Source
) -> ReportObject:
    known = _report(desk.engine, ref.study_instance_uid, kind, report.c.version == ref.version)
    if known is not None:
        return known
    build, series_number = BUILDERS[kind]
    identity = ReportIdentity(
        sop_instance_uid=derive_uid(desk.node_uid, ref.study_instance_uid, str(ref.version), kind.value, "instance"),
        series_instance_uid=derive_uid(desk.node_uid, ref.study_instance_uid, str(ref.version), kind.value, "series"),
        series_number=series_number, created_at=local(now()), language=desk.config.reports.language,
        tracking_uids={found.finding: derive_uid(desk.node_uid, ref.study_instance_uid, "tracking", found.finding)
                       for found in analysis.findings},
        observer_uid=derive_uid(desk.node_uid, "observer"), software_version=desk.software_version,
        node_uid=desk.node_uid, ae_title=desk.config.node.ae_title,
        predecessor=_report(desk.engine, ref.study_instance_uid, kind, report.c.version < ref.version))
    dataset = build(analysis, source.decisive, source.all, identity)
    checks.require(dataset, source.decisive)
    path = Path("reports") / f"{identity.sop_instance_uid}.dcm"
    _store(dataset, desk.data_dir / path)
    return ReportObject(
        kind=kind, sop_class_uid=str(dataset.SOPClassUID), sop_instance_uid=identity.sop_instance_uid,
        series_instance_uid=identity.series_instance_uid, study_instance_uid=ref.study_instance_uid,
        version=ref.version, path=str(path))


def derive_uid(*parts: str) -> str:
    """A UID under 2.25 (PS3.5 B.2) that is the same for the same parts, so that a repeat makes the same object."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def _source(desk: Desk, state: RunState) -> Source:
    decoded = {key.instance_id for key in evaluated(state)}
    decisive = state.results["rank"]["decisive"]
    heads = [pydicom.dcmread(desk.data_dir / found.path, stop_before_pixels=True)
             for found in state.evidence if found.id in decoded]
    first = [head for head in heads if head.SOPInstanceUID == decisive]
    return Source(decisive=(first or heads)[0], all=heads)


def _report(
    engine: sa.Engine, study_uid: str, kind: ReportKind, versions: sa.ColumnElement[bool]
) -> ReportObject | None:
    query = sa.select(report).where(report.c.study_instance_uid == study_uid, report.c.kind == kind.value, versions)
    with reading(engine) as connection:
        row = connection.execute(query.order_by(report.c.version.desc())).first()
    if row is None:
        return None
    names = ("sop_class_uid", "sop_instance_uid", "series_instance_uid", "study_instance_uid", "version", "path")
    return ReportObject(kind=kind, **{name: getattr(row, name) for name in names})


def _store(dataset: Dataset, path: Path) -> None:
    """Bytes first, then their name: a report is whole or not there."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            pydicom.dcmwrite(file, dataset, enforce_file_format=True)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror})") from error


def commit_write(desk: Desk, connection: sa.Connection, ref: RunRef, state: RunState, result: JSON) -> None:
    """Book the objects into the outbox, and what they say of themselves for queries."""
    demo = spoke_demo(parse(AnalysisResult, state.results["guard"]["analysis"]))
    for item in result["reports"]:
        booked: ReportObject = parse(ReportObject, item)
        insert_ignore(
            connection, report, sop_instance_uid=booked.sop_instance_uid, kind=booked.kind.value,
            study_instance_uid=booked.study_instance_uid, version=booked.version, path=booked.path,
            sop_class_uid=booked.sop_class_uid, series_instance_uid=booked.series_instance_uid, demo=demo,
            created_at=now())
        results.book(connection, desk.data_dir / booked.path)
    said = ReportState.WITHHELD if "withheld" in result else ReportState.WRITTEN
    reason = result.get("failed") or result.get("withheld") or ""
    if "failed" in result:
        said = ReportState.FAILED
    worklist.advance(connection, ref.study_instance_uid, ref.version, worklist.Phase.REPORTED,
                     report_state=said, dossier={"report_reason": reason})


def deliver(desk: Desk, ref: RunRef) -> JSON:
    """Which destinations get the objects, and why not the others."""
    state = load_run(desk.engine, ref)
    section = desk.pipeline(state.results["plan"]["pipeline"])
    wanted = [destination for destination in desk.config.destinations
              if not section.destinations or destination.name in section.destinations]
    if not state.results["write"]["reports"]:
        return {"destinations": [], "blocked": {}}
    if state.historical and not desk.config.delivery.historical:
        return {"destinations": [], "blocked": {one.name: "historical study; delivery.historical is off"
                                                for one in wanted}}
    analysis: AnalysisResult = parse(AnalysisResult, state.results["guard"]["analysis"])
    blocked = {one.name: why for one in wanted
               if (why := delivery.gate(one, spoke_demo(analysis), desk.config.models.allow_demo_delivery))}
    return {"destinations": [one.name for one in wanted if one.name not in blocked], "blocked": blocked}


def commit_deliver(desk: Desk, connection: sa.Connection, ref: RunRef, state: RunState, result: JSON) -> None:
    """Queue every object for every destination; what an older version has waiting there is not sent any more."""
    delivery.supersede(connection, desk.chain, ref.study_instance_uid, ref.version)
    named = [one for one in desk.config.destinations if one.name in result["destinations"]]
    objects = [parse(ReportObject, item) for item in state.results["write"]["reports"]]
    delivery.queue(connection, desk.chain, desk.put, ref.study_instance_uid, ref.version, objects, named, ref.priority)
    worklist.advance(connection, ref.study_instance_uid, ref.version, worklist.Phase.DELIVERED,
                     dossier={"delivery_blocked": result["blocked"]})


def notify(desk: Desk, ref: RunRef) -> JSON:
    """The last stage. No channel besides the node's own board exists yet; working copies are removed here."""
    state = load_run(desk.engine, ref)
    pictures.discard(desk.data_dir, [found.id for found in state.evidence])
    return {"channels": ["board"]}


def commit_notify(_desk: Desk, connection: sa.Connection, ref: RunRef, _state: RunState, _result: JSON) -> None:
    """The run is over."""
    finish_run(connection, ref, "done", "")


def finish_run(connection: sa.Connection, ref: RunRef, state: str, reason: str) -> None:
    """Close the run's row."""
    connection.execute(sa.update(run).where(
        run.c.study_instance_uid == ref.study_instance_uid, run.c.version == ref.version,
    ).values(state=state, reason=reason))

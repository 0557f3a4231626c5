"""The clinical sequence, top to bottom, and how each stage becomes a durable job.

Every stage's result, its audit event and the next job are one transaction. A stage that
ends the sequence says so with a reason: "not eligible" is an outcome, not an error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from node import audit, routing, worklist
from node.arrivals import Arrival
from node.database import run
from node.domain import (
    JSON,
    AuditEvent,
    EntryState,
    FindingsState,
    Lane,
    Priority,
    ReportState,
    Study,
)
from node.jobs import Failure, Queue
from node.jobs import Stage as Job
from node.quiet_series import EARLY_SERIES
from node.stages import analysis, describing, earlier, early, localising, planning, reading, reporting, sending
from node.stages.desk import Desk, RunRef, RunState, read_run

log = logging.getLogger(__name__)

Work = Callable[[Desk, RunRef], JSON]
Effect = Callable[[Desk, sa.Connection, RunRef, RunState, JSON], None]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of the sequence: where it runs, what it does, what it changes."""

    name: str
    queue: Queue
    function: Work
    effect: Effect


def _no_effect(_desk: Desk, _connection: sa.Connection, _ref: RunRef, _state: RunState, _result: JSON) -> None:
    """The result alone is kept."""


def _confirm(desk: Desk, connection: sa.Connection, ref: RunRef, state: RunState, result: JSON) -> None:
    """The study has its place; heat maps are made beside the sequence, which does not wait for them."""
    analysis.commit_rank(desk, connection, ref, state, result)
    if localising.book(desk, connection, ref, state):
        desk.put(connection, stage=BESIDE.name, key=_key(BESIDE, ref), priority=localising.PRIORITY,
                 arguments=ref.arguments())


SEQUENCE: tuple[Stage, ...] = (
    Stage(name="plan", queue=Queue.REPORT, function=planning.plan, effect=earlier.ask),
    Stage(name="decode", queue=Queue.TRIAGE, function=analysis.decode, effect=_no_effect),
    Stage(name="triage", queue=Queue.TRIAGE, function=analysis.triage, effect=analysis.commit_triage),
    Stage(name="rank", queue=Queue.TRIAGE, function=analysis.rank, effect=_confirm),
    Stage(name="findings", queue=Queue.FINDINGS, function=describing.findings, effect=_no_effect),
    Stage(name="guard", queue=Queue.REPORT, function=reading.guard, effect=reading.commit_guard),
    Stage(name="write", queue=Queue.REPORT, function=reporting.write, effect=reporting.commit_write),
    Stage(name="deliver", queue=Queue.REPORT, function=reporting.deliver, effect=reporting.commit_deliver),
    Stage(name="notify", queue=Queue.REPORT, function=reporting.notify, effect=reporting.commit_notify),
)

BESIDE = Stage(name="localise", queue=Queue.FINDINGS, function=localising.localise, effect=_no_effect)
"""Heat maps of what was flagged. In a queue that scores do not wait in, behind all that is in it."""

EARLY = "early"
"""Triage of one projection as it arrives: the same scoring, before the sequence begins."""

BEFORE_RANK = ("plan", "decode", "triage", "rank")
"""Stages whose failure fails the study's entry; a later failure leaves the flag as it is."""

RETRY_SECONDS = (5.0, 30.0, 120.0, 600.0, 600.0, 600.0)
"""When a stage is put again after a failure that may pass by itself."""

QUEUE_OF = {
    **{stage.name: stage.queue for stage in (*SEQUENCE, BESIDE)}, EARLY: Queue.TRIAGE, EARLY_SERIES: Queue.TRIAGE,
    **sending.QUEUE_OF, **earlier.QUEUE_OF}


def jobs(desk: Desk) -> list[Job]:
    """Every stage as a job, in order, with early triage first."""
    at_once, quiet = (_early_job(desk, EARLY, early.early, "instance_id"),
                      _early_job(desk, EARLY_SERIES, early.early_series, "series_instance_uid"))
    return [at_once, quiet, *(_job(desk, stage) for stage in SEQUENCE), _localise_job(desk)]


def _job(desk: Desk, stage: Stage) -> Job:
    def commit(connection: sa.Connection, arguments: JSON, result: JSON) -> None:
        ref = RunRef.of(arguments)
        _record(desk, connection, ref, stage.name, result)
        state = read_run(connection, ref)
        if state.study.version > ref.version:
            _supersede(desk, connection, ref, state)
        elif result.get("end"):
            _end(desk, connection, ref, stage.name, result["reason"])
        else:
            stage.effect(desk, connection, ref, state, result)
            _put_next(desk, connection, ref, stage, result)

    def failed(connection: sa.Connection, arguments: JSON, failure: Failure) -> None:
        tries = arguments.get("tries", 0)
        if failure.retryable and tries < len(RETRY_SECONDS):
            _defer(desk, connection, stage, arguments, failure)
        elif stage.name == "findings":  # triage stands alone: its flag must reach the PACS
            commit(connection, arguments, {"state": FindingsState.FAILED.value, "reason": failure.reason})
        else:
            _fail(desk, connection, RunRef.of(arguments), stage.name, failure)

    return Job(name=stage.name, queue=stage.queue, commit=commit, failed=failed,
               work=lambda arguments: stage.function(desk, RunRef.of(arguments)))


def _defer(desk: Desk, connection: sa.Connection, stage: Stage, arguments: JSON, failure: Failure) -> None:
    """Disk or database were away for longer than a job may wait: the stage is put again, later."""
    ref, tries = RunRef.of(arguments), arguments.get("tries", 0)
    audit.append(connection, desk.chain, AuditEvent(
        action="stage.deferred", study_instance_uid=ref.study_instance_uid,
        detail={"version": ref.version, "stage": stage.name, "error": failure.error, "tries": tries + 1}))
    desk.put(connection, stage=stage.name, key=f"{_key(stage, ref)}:t{tries + 1}",
             priority=localising.PRIORITY if stage is BESIDE else ref.priority,
             arguments={**arguments, "tries": tries + 1}, delay_seconds=RETRY_SECONDS[tries])


def _supersede(desk: Desk, connection: sa.Connection, ref: RunRef, state: RunState) -> None:
    """A newer version has begun: this one says nothing any more, so that nothing older arrives after it."""
    audit.append(connection, desk.chain, AuditEvent(
        action="run.superseded", study_instance_uid=ref.study_instance_uid,
        detail={"version": ref.version, "by": state.study.version}))
    reporting.finish_run(connection, ref, "superseded", f"version {state.study.version} has begun")


def _key(stage: Stage, ref: RunRef) -> str:
    return ref.key(stage.name)


def _record(desk: Desk, connection: sa.Connection, ref: RunRef, name: str, result: JSON) -> None:
    """Audit event first, as it is the write that takes the lock; then the result for the stages after."""
    audit.append(connection, desk.chain, AuditEvent(
        action=f"stage.{name}", study_instance_uid=ref.study_instance_uid,
        detail={"version": ref.version, **_told(name, result)}))
    mine = sa.and_(run.c.study_instance_uid == ref.study_instance_uid, run.c.version == ref.version)
    results = connection.execute(sa.select(run.c.results).where(mine)).scalar_one()
    left = {key: value for key, value in result.items() if key != "vectors"}  # they have a table of their own
    connection.execute(sa.update(run).where(mine).values(results={**results, name: left}))


def _told(name: str, result: JSON) -> JSON:
    """What of a result belongs into the audit trail: decisions and identities, not texts."""
    if result.get("end"):
        return {"ended": result["reason"]}
    kept = {
        "plan": ("pipeline", "prompt_set", "eligible", "declined"), "decode": ("decoded", "undecodable"),
        "triage": ("scores", "reused", "gated"),
        "rank": ("ai_priority", "decisive", "decisive_frame", "images", "changed"),
        "findings": ("state", "reason", "prompt", "images", "yes_ranks", "yes_ranks_withheld"),
        "guard": ("findings_state", "guardrails", "words_sha256"), "write": ("withheld", "failed"),
        "deliver": ("destinations", "blocked"), "notify": ("channels",),
    }[name]
    told = {key: result[key] for key in kept if key in result}
    if name == "triage":
        told["model_sha256"] = result["triage"]["model"]["sha256"]
    if name == "findings" and "model" in result:
        told["model_sha256"] = result["model"]["sha256"]
    if name == "findings":
        told |= {run: {key: result[run][key] for key in ("state", "told", "context_only", "earlier", "prompt")
                       if key in result[run]} for run in ("with_order", "comparison") if run in result}
    if name == "write":
        told["reports"] = [item["sop_instance_uid"] for item in result["reports"]]
    return told


def _put_next(desk: Desk, connection: sa.Connection, ref: RunRef, stage: Stage, result: JSON) -> None:
    index = SEQUENCE.index(stage) + 1
    if index == len(SEQUENCE):
        return
    priority = ref.priority
    if stage.name == "rank" and result["ai_priority"] is not None:
        priority = Priority.higher(priority, Priority(result["ai_priority"]))
    following = SEQUENCE[index]
    if following.name == earlier.FINDINGS and earlier.hold(connection, ref, priority):
        return  # an earlier study of the patient is on its way; whatever comes of it lets them go on
    desk.put(connection, stage=following.name, key=_key(following, ref), priority=priority,
             arguments=ref.arguments(priority), after=stage.name)


def _end(desk: Desk, connection: sa.Connection, ref: RunRef, name: str, reason: str) -> None:
    """No model may speak, or none can: the study keeps its place and says why."""
    planning.commit_declined(desk, connection, ref, reason)
    reporting.finish_run(connection, ref, "not_evaluable", reason)
    log.info("study %s v%d is not evaluable: %s", ref.study_instance_uid, ref.version, reason,
             extra={"action": "study.not_evaluable", "study": ref.study_instance_uid, "stage": name})


def _fail(desk: Desk, connection: sa.Connection, ref: RunRef, name: str, failure: Failure) -> None:
    audit.append(connection, desk.chain, AuditEvent(
        action="stage.failed", study_instance_uid=ref.study_instance_uid,
        detail={"version": ref.version, "stage": name, "error": failure.error, "reason": failure.reason}))
    reason = f"{name} failed: {failure.reason}"
    if name in BEFORE_RANK:
        worklist.advance(
            connection, ref.study_instance_uid, ref.version, worklist.Phase.RANKED, state=EntryState.FAILED,
            reason=reason, ai_priority=None, findings_state=FindingsState.FAILED, report_state=ReportState.FAILED)
    elif name == "guard":
        worklist.advance(
            connection, ref.study_instance_uid, ref.version, worklist.Phase.REPORTED,
            findings_state=FindingsState.FAILED, report_state=ReportState.FAILED, dossier={"report_reason": reason})
    elif name == "write":
        worklist.advance(connection, ref.study_instance_uid, ref.version, worklist.Phase.REPORTED,
                         report_state=ReportState.FAILED, dossier={"report_reason": reason})
    reporting.finish_run(connection, ref, "failed", reason)
    log.error("study %s v%d: %s", ref.study_instance_uid, ref.version, reason,
              extra={"action": "stage.failed", "study": ref.study_instance_uid, "stage": name})


def _early_job(desk: Desk, name: str, work: Callable[[Desk, JSON], JSON], what: str) -> Job:
    def commit(connection: sa.Connection, arguments: JSON, result: JSON) -> None:
        told = {"reason": result["reason"]} if result.get("end") else {"scores": result["scores"], **result["times"]}
        audit.append(connection, desk.chain, AuditEvent(
            action="stage.early", study_instance_uid=arguments["study_instance_uid"],
            detail={what.partition("_")[0]: arguments[what], **told}))
        if not result.get("end"):
            early.commit_early(desk, connection, arguments["study_instance_uid"], result)

    def failed(connection: sa.Connection, arguments: JSON, failure: Failure) -> None:
        """Completion scores the image again and reports what is wrong."""
        audit.append(connection, desk.chain, AuditEvent(
            action="stage.failed", study_instance_uid=arguments["study_instance_uid"],
            detail={"stage": name, what.partition("_")[0]: arguments[what], "error": failure.error,
                    "reason": failure.reason}))

    return Job(name=name, queue=QUEUE_OF[name], work=lambda arguments: work(desk, arguments),
               commit=commit, failed=failed)


def _localise_job(desk: Desk) -> Job:
    def commit(connection: sa.Connection, arguments: JSON, result: JSON) -> None:
        ref = RunRef.of(arguments)
        maps = {told["finding"]: {name: told[name] for name in localising.TOLD if name in told}
                for told in result["maps"]}
        audit.append(connection, desk.chain, AuditEvent(
            action="stage.localise", study_instance_uid=ref.study_instance_uid,
            detail={"version": ref.version, "maps": maps, "reason": result["reason"],
                    "model_sha256": result.get("model_sha256", "")}))
        localising.commit_localise(connection, ref, result)

    def failed(connection: sa.Connection, arguments: JSON, failure: Failure) -> None:
        """The flag stands without it."""
        ref = RunRef.of(arguments)
        if failure.retryable and arguments.get("tries", 0) < len(RETRY_SECONDS):
            _defer(desk, connection, BESIDE, arguments, failure)
            return
        audit.append(connection, desk.chain, AuditEvent(
            action="stage.failed", study_instance_uid=ref.study_instance_uid,
            detail={"version": ref.version, "stage": BESIDE.name, "error": failure.error, "reason": failure.reason}))
        localising.give_up(connection, ref, failure.reason)

    return Job(name=BESIDE.name, queue=BESIDE.queue, work=lambda arguments: localising.localise(
        desk, RunRef.of(arguments)), commit=commit, failed=failed)


def accepted(desk: Desk, connection: sa.Connection, arrival: Arrival, study: Study) -> None:
    """An instance was booked: put its study on the list and, for a projection, score it at once."""
    found = arrival.instance
    if study.lane is Lane.PRIOR:
        return  # nobody is to read it
    worklist.open_entry(connection, found.study_instance_uid, found.received_at.timestamp())
    if study.lane is not Lane.FRESH or arrival.head is None or not arrival.evidence:
        return
    if routing.is_projection(arrival.head):
        desk.put(connection, stage=EARLY, key=f"early:{found.id}", priority=study.order_priority,
                 arguments={"instance_id": found.id, "study_instance_uid": found.study_instance_uid,
                            "priority": int(study.order_priority), "version": study.version + 1})

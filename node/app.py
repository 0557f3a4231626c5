"""Composition root: the only module that names concrete classes. One function per role.

Imports of heavy libraries stand in the role that needs them: the receiver loads neither the
job engine nor torch, the clerk and the web no torch.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from node import __version__, audit, schema
from node.config import Config
from node.database import connect, insert_ignore, node_state, transaction
from node.domain import DEMO_NOTICE, RESEARCH_NOTICE, AuditEvent, CommitmentReport, IntendedUse
from node.errors import ModelUnavailable, PromptSetRefused, StorageError
from node.interfaces import FindingsModel, Localiser, Put, TriageModel
from node.observability import supervised_thread
from node.quiet_series import QuietSeries
from node.roles import Heartbeat, Role, Slot, take_slot

if TYPE_CHECKING:
    from node.stages.desk import Desk

log = logging.getLogger(__name__)

M_ARENA_MAX = -8
"""A parameter of mallopt(3)."""

NICENESS = {Role.RECEIVER: 0, Role.CLERK: 5, Role.WORKER: 5, Role.WEB: 5}
"""Reception goes first where cores are short: a modality that waits stops scanning, an analysis only comes later."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """What every role starts from."""

    config: Config
    engine: sa.Engine
    slot: Slot
    role: Role
    incarnation: str
    stopping: threading.Event
    failed: threading.Event

    def fail(self) -> None:
        """A part of the role ended with an error: the whole process ends, to be started again."""
        self.failed.set()
        self.stopping.set()

    def heartbeat(self) -> Heartbeat:
        return Heartbeat(self.engine, self.slot, self.role, self.incarnation)


@dataclass(frozen=True, kw_only=True)
class Models:
    """What a worker has loaded: triage by prompt set, findings by findings prompt; and, with the reason, which prompt
    sets it refused and which findings prompts its model cannot answer."""

    triage: Mapping[str, TriageModel] = field(default_factory=dict)
    findings: Mapping[str, FindingsModel] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    unanswerable: Mapping[str, str] = field(default_factory=dict)
    #: Where the findings model can give boxes.
    localiser: Localiser | None = None


def run_role(role: Role, config: Config, incarnation: str) -> int:
    """Run one role in this process until SIGTERM or SIGINT.

    ``incarnation`` is the same for all that one supervisor started, and '' for a role started alone.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    os.nice(NICENESS[role])
    engine = open_database(config)
    base = Base(config=config, engine=engine, slot=take_slot(config.node.data_dir, role), role=role,
                incarnation=incarnation, stopping=stopping, failed=threading.Event())
    _note_start(base)
    run = {Role.RECEIVER: run_receiver, Role.CLERK: run_clerk, Role.WORKER: run_worker, Role.WEB: run_web}[role]
    run(base)
    return 1 if base.failed.is_set() else 0


def _note_start(base: Base) -> None:
    """The audit says under which declared use every process ran, and by what authority."""
    node = base.config.node
    with transaction(base.engine) as connection:
        audit.append(connection, base.slot.name, AuditEvent(action="role.started", detail={
            "role": base.role.value, "incarnation": base.incarnation, "version": __version__,
            "intended_use": node.intended_use.value, "jurisdiction": node.jurisdiction,
            "authorisation_reference": node.authorisation_reference}))


def open_database(config: Config) -> sa.Engine:
    """The engine, with the schema up to date. Migration runs in a process of its own, as it loads the job engine."""
    config.node.data_dir.mkdir(parents=True, exist_ok=True)
    engine = connect(config.database.url)
    if not schema.is_current(engine):
        done = subprocess.run(
            [sys.executable, "-m", "node.migrate", str(config.node.data_dir)], input=config.database.url, text=True,
            check=False)
        if done.returncode != 0:
            raise StorageError(f"database {engine.url.render_as_string()}: migration failed; see the message above")
    return engine


def run_receiver(base: Base) -> None:
    """Associations, instances, rows, audit."""
    _share_arenas()
    from node import delivery
    from node.bell import Ringer
    from node.intake import Intake, lanes
    from node.server import Server

    chain = base.slot.name
    intake = Intake(base.engine, base.config.node.data_dir, chain, base.config.receive.min_free_disk_mb,
                    wake=Ringer(base.engine).ring, lane=lanes(base.config.node.ae_title, base.config.study))
    intake.sweep()
    supervised_thread("underway", intake.underway.run, base.fail)

    def committed(answer: CommitmentReport) -> None:
        with transaction(base.engine) as connection:
            delivery.record_commitment(connection, chain, answer)

    server = Server(base.config, intake, committed, base.engine, chain, on_failure=base.fail)
    port = server.start()
    _live(base, base.heartbeat(), {"port": port})
    server.stop()


def _share_arenas() -> None:
    """Let all threads of this process take memory from two heaps: glibc would give each association's thread
    one of its own, and keep it."""
    ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def run_clerk(base: Base) -> None:
    """Rows to jobs; reports, delivery, commitment, housekeeping."""
    from node import arrivals, delivery, pipeline
    from node.bell import Bell
    from node.clerk import Clerk, Every
    from node.completion import Completion
    from node.dicom_archive import DicomArchive
    from node.dicom_client import DicomClient
    from node.dicom_query import DicomQuery
    from node.housekeeping.retention import InPieces, Retention
    from node.intake import Intake, lanes
    from node.jobs import Jobs, Queue
    from node.source import Source
    from node.stages import earlier, planning, sending
    from node.stages.prior_search import Reception
    from node.studies import Hooks, Studies
    from node.timers import Clock
    from node.versions import Versions

    config, chain = base.config, base.slot.name
    jobs = Jobs(base.engine, chain, pipeline.QUEUE_OF)
    desk = _desk(base, jobs.put, Models())
    office = delivery.Office(
        engine=base.engine, chain=chain, put=jobs.put, client=DicomClient(config.node.ae_title),
        destinations={one.name: one for one in config.destinations}, settings=config.delivery,
        data_dir=config.node.data_dir, allow_demo=config.models.allow_demo_delivery)
    relay = delivery.Relay(office=office, settings=config.receive.storage_commitment,
                           callbacks=delivery.callbacks(config.peers, config.destinations))
    intake = Intake(base.engine, config.node.data_dir, chain, config.receive.min_free_disk_mb,
                    lane=lanes(config.node.ae_title, config.study))
    reception = Reception(desk=desk, archive=DicomArchive(config.node.ae_title, intake), stopping=base.stopping)
    known = [*pipeline.jobs(desk), *sending.jobs(office), *sending.relay_jobs(relay), *earlier.jobs(reception)]
    for job in known:
        jobs.register(job)
    jobs.start({Queue.REPORT: 4, Queue.SEND: 8})

    def expire_priors() -> int:
        return earlier.expire(desk)

    clock = Clock()
    completion = Completion(base.engine, config.study, clock)
    quiet = QuietSeries(base.engine, config.study, jobs.put, clock)
    studies = Studies(chain, config.study, Hooks(
        eligible=lambda head, caller: planning.eligible_late(
            config.pipelines, desk.prompt_sets, desk.today(), head, caller),
        accepted=lambda connection, arrival, study: pipeline.accepted(desk, connection, arrival, study)), clock)
    retention = Retention(base.engine, config.node.data_dir, chain, config.retention,
                          [one.name for one in config.destinations if one.storage_commitment])
    rounds = InPieces(60.0, retention.make_room), InPieces(3600.0, retention.expire)
    clerk = Clerk(
        engine=base.engine, chain=chain, jobs=jobs, failed={job.name: job.failed for job in known},
        settings=config.delivery, data_dir=config.node.data_dir, studies=studies,
        versions=Versions(base.engine, chain, config.study, jobs.put, clock, completion),
        duties=[*(Every(1.0, one.turn) for one in rounds), Every(0.2, quiet.put_forward),
                Every(0.2, relay.turn), Every(3600.0, relay.tidy), Every(0.2, expire_priors)],
        arrivals=arrivals.Arrivals(base.engine, config.node.data_dir))
    bell = Bell(clerk.woken)
    supervised_thread("bell", bell.listen, base.fail)
    supervised_thread("clerk", clerk.run, base.fail)
    if config.study.source.ae_title:
        source = Source(base.engine, chain, config.study.source, completion, DicomQuery(config.node.ae_title), clock)
        supervised_thread("source", source.run, base.fail)
    _live(base, Heartbeat(base.engine, base.slot, base.role, base.incarnation, jobs), {"bell": bell.port})
    clerk.stopping.set()
    jobs.stop()


def run_worker(base: Base) -> None:
    """Images, triage and findings, with the models of this process."""
    from node import pipeline
    from node.jobs import Jobs, Queue

    models = load_models(base.config)
    identities = [one.identity for one in models.triage.values()] + [one.identity for one in models.findings.values()]
    _remember_devices(base.engine, {identity.device_uid for identity in identities})
    note_refused(base, models)
    jobs = Jobs(base.engine, base.slot.name, pipeline.QUEUE_OF, on_device_lost=base.fail)
    desk = _desk(base, jobs.put, models)
    for job in pipeline.jobs(desk):
        jobs.register(job)
    together = max((model.batch for model in models.findings.values()), default=1)
    jobs.start({Queue.TRIAGE: 8, Queue.FINDINGS: together})
    _live(base, base.heartbeat(), {
        "triage": {name: model.identity.name for name, model in models.triage.items()},
        "findings": {name: model.identity.name for name, model in models.findings.items()},
        "shadow": {name: model.shadow_reason for name, model in models.triage.items() if not model.operating_points},
        "refused": dict(models.refused),
    })
    if base.failed.is_set():
        jobs.stop(0)  # on a lost device nothing ends well: what runs is taken up by the next process
    else:
        jobs.stop()


def run_web(base: Base) -> None:
    """API and pages."""
    from node.web import readiness
    from node.web.application import allowed_hosts, create_app
    from node.web.server import serve

    app = create_app(
        base.engine, base.config.node.data_dir, lambda: readiness.of_roles(base.engine, base.incarnation or None),
        notices=_notices(base.config), allowed_hosts=allowed_hosts(base.config.web.host),
        language=base.config.node.language)
    server = serve(app, base.config.web.host, base.config.web.port, base.fail)
    _live(base, base.heartbeat(), {"port": server.port})
    server.stop()


def _notices(config: Config) -> list[str]:
    """What every page says: also one demo model of the two makes the results synthetic."""
    from node import checkup
    from node.inference.checkpoints import manifest

    demo = any(manifest(directory).demo for directory in checkup.checkpoints(config))
    research = config.node.intended_use is IntendedUse.RESEARCH
    return [DEMO_NOTICE] * demo + [RESEARCH_NOTICE] * research


def _live(base: Base, heartbeat: Heartbeat, detail: dict[str, object]) -> None:
    """Ready, and beating until the role is told to stop."""
    heartbeat.ready(detail)
    log.info("%s is ready", base.role.value, extra={"action": "role.ready", "slot": base.slot.name, **detail})
    supervised_thread("heartbeat", heartbeat.run, base.fail)
    base.stopping.wait()
    heartbeat.stop()


def _desk(base: Base, put: Put, models: Models) -> Desk:
    from node.inference.prompt_sets import load_findings_prompt, load_prompt_set
    from node.stages.desk import Desk

    sections = base.config.pipelines
    return Desk(
        config=base.config, engine=base.engine, chain=base.slot.name, put=put, node_uid=schema.node_uid(base.engine),
        software_version=__version__, today=date.today, triage_models=models.triage,
        findings_models=models.findings, refused=models.refused, unanswerable=models.unanswerable,
        localiser=models.localiser,
        prompt_sets={one.prompt_set: load_prompt_set(one.prompt_set) for one in sections},
        findings_prompts={name: load_findings_prompt(name) for name in base.config.findings_prompts})


def note_refused(base: Base, models: Models) -> None:
    """Once per start: which prompts this worker does not use, and why."""
    with transaction(base.engine) as connection:
        for name, reason in models.refused.items():
            audit.append(connection, base.slot.name, AuditEvent(
                action="prompt_set.refused", detail={"prompt_set": name, "reason": reason}))
        for name, reason in models.unanswerable.items():
            audit.append(connection, base.slot.name, AuditEvent(
                action="findings_prompt.refused", detail={"prompt": name, "reason": reason}))


def load_models(config: Config) -> Models:
    """Every model the pipelines name. A prompt set that fails its self-test keeps none of the others from working.

    Raises:
        ModelUnavailable: naming the path or hub id, and what to do.
    """
    from node.inference.backends import opened
    from node.inference.checkpoints import gives_boxes
    from node.inference.localiser import BoxLocaliser
    from node.inference.medgemma import MedGemma
    from node.inference.prompt_sets import load_findings_prompt
    from node.inference.torch_runtime import set_threads

    models, cache = config.models, config.node.data_dir / "cache"
    set_threads(models.triage.threads)
    triage, refused = _load_triage(config, cache)
    findings: dict[str, FindingsModel] = {}
    localiser: Localiser | None = None
    unanswerable: dict[str, str] = {}
    if models.findings.backend != "none":
        backend = opened(models.findings, cache, os.environ)
        for name in sorted(config.findings_prompts):
            try:
                findings[name] = MedGemma(backend, load_findings_prompt(name))
            except ModelUnavailable as error:
                unanswerable[name] = str(error)
                log.error("%s", error, extra={"action": "model.prompt_unanswerable", "prompt": name})
        if gives_boxes(models.findings.checkpoint):
            localiser = BoxLocaliser(backend)
    for name, model in triage.items():
        if not model.operating_points:
            log.warning("prompt set %s runs in SHADOW MODE: %s", name, model.shadow_reason,
                        extra={"action": "model.shadow", "prompt_set": name})
    return Models(
        triage=triage, findings=findings, refused=refused, unanswerable=unanswerable, localiser=localiser)


def _load_triage(config: Config, cache: Path) -> tuple[dict[str, TriageModel], dict[str, str]]:
    """The triage model of every prompt set, and why others have none."""
    from node.inference.batching import BatchedTriage
    from node.inference.medsiglip import MedSigLIP
    from node.inference.prompt_sets import load_prompt_set

    models = config.models
    triage: dict[str, TriageModel] = {}
    refused: dict[str, str] = {}
    for name in sorted({section.prompt_set for section in config.pipelines}):
        try:
            model = MedSigLIP.load(models.triage, load_prompt_set(name), cache, models.allow_unvalidated)
        except PromptSetRefused as error:
            refused[name] = str(error)
            log.error("%s", error, extra={"action": "model.prompt_set_refused", "prompt_set": name})
        else:
            triage[name] = BatchedTriage(model)
    return triage, refused


def _remember_devices(engine: sa.Engine, uids: set[str]) -> None:
    """Every Device UID this node ever spoke with: an object that carries one is ours, whoever sends it."""
    from node import arrivals

    with transaction(engine) as connection:
        for uid in uids:
            insert_ignore(connection, node_state, key=f"{arrivals.DEVICE_UID_PREFIX}{uid}", value=uid)

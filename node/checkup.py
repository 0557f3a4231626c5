"""What ``ainode check`` looks at before a node goes to work: one line per thing, a problem named with what to do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from node import audit, network_checks, schema
from node.config import Config, Destination, FindingsModelSection, PriorSource
from node.database import connect
from node.dicom_client import DicomClient
from node.domain import AuditEvent, IntendedUse, PromptSet
from node.errors import ModelUnavailable, NodeError, PeerRefused, PromptSetRefused, StorageError
from node.housekeeping.consistency import Findings, StoreCheck
from node.housekeeping.recovery import Recovery
from node.inference import operating_points
from node.inference.checkpoints import ModelKind, lies_here, manifest, resolve_checkpoint
from node.inference.identity import scorer_sha256
from node.inference.prompt_sets import load_findings_prompt, load_prompt_set
from node.intake import Intake

REPORT_CLASSES = ("1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.88.11")
"""Comprehensive 3D SR and Basic Text SR Storage."""

COMMITMENT = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model."""
STUDY_ROOT_FIND, STUDY_ROOT_MOVE, STUDY_ROOT_GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))

CHAIN = "check"
"""Audit chain of what a check does."""

DEMO = "demo model: SYNTHETIC, NOT FOR CLINICAL USE"
LICENCE = "weights under the HAI-DEF terms need their acceptance; clinical use needs an authorisation"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One thing looked at. ``ok`` False is a problem; a warning is ok and says what to know."""

    subject: str
    ok: bool
    text: str


def checkpoints(config: Config) -> list[Path]:
    """The folder of every configured model that is on this machine. Raises ModelUnavailable when one is not there."""
    found = [resolve_checkpoint(config.models.triage.checkpoint, ModelKind.TRIAGE)]
    findings = config.models.findings
    if findings.backend == "transformers" or (findings.backend == "openai" and lies_here(findings.checkpoint)):
        found.append(resolve_checkpoint(config.models.findings.checkpoint, ModelKind.FINDINGS))
    return found


def lines(config: Config, store: bool) -> Iterator[Line]:
    """Everything, in the order an operator would ask.

    ``store`` also writes, negotiates what is sent, compares files with rows and repairs what disagrees.
    """
    yield _intended_use(config)
    yield _attempt("data_dir", lambda: _disk(config))
    yield _retention(config)
    yield _attempt("database", lambda: _database(config, store))
    if store:
        yield from _store(config)
    yield from _network(config)
    yield _attempt("models.triage", lambda: _triage(config))
    yield from _pipelines(config)
    yield _attempt("models.findings", lambda: _findings(config))
    yield from _findings_prompts(config)
    yield _attempt("gpu", _gpu)
    if config.study.source.ae_title:
        yield _attempt("source archive", partial(_source, config))
    for source in config.priors:
        yield _attempt(f"priors {source.name}", partial(_prior_source, config, source))
    for destination in config.destinations:
        yield _attempt(f"destination {destination.name}", partial(_peer, config, destination, store))
    if not config.destinations:
        yield Line(subject="destinations", ok=True, text="none configured: results stay in the node")


def _network(config: Config) -> Iterator[Line]:
    found = list(network_checks.remarks(config))
    if not found:
        ports = f"port {config.node.port}" + f", TLS port {config.receive.tls.port}" * bool(config.receive.tls.port)
        yield Line(subject="network", ok=True, text=f"{config.node.host} {ports}, nothing to remark")
    for remark in found:
        text = remark.text if remark.problem else f"warning: {remark.text}"
        yield Line(subject=remark.setting, ok=not remark.problem, text=text)


def _attempt(subject: str, look: Callable[[], str]) -> Line:
    try:
        return Line(subject=subject, ok=True, text=look())
    except NodeError as error:
        return Line(subject=subject, ok=False, text=str(error))
    except OSError as error:
        return Line(subject=subject, ok=False, text=f"{error.filename}: {error.strerror}")


def _intended_use(config: Config) -> Line:
    use = config.node.intended_use
    text = "RESEARCH USE ONLY is stamped on every object" if use is IntendedUse.RESEARCH else (
        f"clinical, {config.node.jurisdiction}, {config.node.authorisation_reference}")
    return Line(subject="intended use", ok=True, text=text)


def _disk(config: Config) -> str:
    folder = config.node.data_dir
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free // 2**20
    if free < config.receive.min_free_disk_mb:
        raise OSError(28, f"{free} MB free, receive.min_free_disk_mb is {config.receive.min_free_disk_mb}",
                      str(folder))
    return f"{folder}, {free} MB free"


def _retention(config: Config) -> Line:
    """What is removed and when; free space that is kept too late keeps nobody from being refused."""
    days, free, low = config.retention.days, config.retention.min_free_mb, config.receive.low_disk_watermark_mb
    told = ([f"finished studies go after {days} days"] if days else []) + (
        [f"the oldest go while less than {free} MB are free"] if free else [])
    if free and free <= low:
        told.append(f"WARNING: below {low} MB (receive.low_disk_mb) senders are refused first; raise "
                    "retention.min_free_mb above it")
    return Line(subject="retention", ok=True, text="; ".join(told) or "off: nothing is removed")


def _database(config: Config, store: bool) -> str:
    engine = connect(config.database.url)
    try:
        current = schema.is_current(engine)
        if store and current:
            with engine.begin() as connection:
                audit.append(connection, CHAIN, AuditEvent(action="check.store"))
    except sa.exc.SQLAlchemyError as error:
        raise StorageError(f"{engine.url.render_as_string()}: {type(error).__name__}") from error
    return f"{engine.url.render_as_string()}, {'current' if current else 'will be migrated at start'}"


def _store(config: Config) -> Iterator[Line]:
    engine, folder = connect(config.database.url), config.node.data_dir
    try:
        if not schema.is_current(engine):
            raise StorageError(f"{engine.url.render_as_string()} has no tables of this version; run 'ainode migrate'")
        recovery = Recovery(engine, folder, CHAIN, config.study.historical_hours)
        found = StoreCheck(engine, folder, recovery, Intake(engine, folder, CHAIN, 0).sweep).run()
    except NodeError as error:
        yield Line(subject="store", ok=False, text=str(error))
        return
    yield Line(subject="store", ok=True, text=_done(found))
    for trouble, text in (
        (found.lost, "instances are lost: their files are gone or damaged; have them sent again"),
        (found.lost_reports, "reports have no file; 'ainode replay STUDY_UID' writes new ones"),
        (found.strange, "files have no business in node.data_dir; move them away"),
    ):
        if trouble.count:
            yield Line(subject="store", ok=False, text=f"{trouble.count} {text}: {trouble}")


def _done(found: Findings) -> str:
    """What is there, and what the check repaired."""
    seen = (f"{found.instances} instances, {found.reports} reports, {found.quarantined} files in quarantine, "
            f"{found.arriving} arriving")
    done = (
        (found.swept, "left by killed receivers, removed"), (found.restored, "brought back"),
        (found.removed, "removed for good"), (found.unusable, "moved to quarantine"),
        (found.unbooked_reports, "reports without a row, kept"))
    return ": ".join((seen, "files and rows agree" if found.clean else
                      "; ".join(f"{count} {what}" for count, what in done if count) or "nothing repaired"))


def _triage(config: Config) -> str:
    directory = resolve_checkpoint(config.models.triage.checkpoint, ModelKind.TRIAGE)
    return f"{directory} ({_whose(manifest(directory).demo)})"


def _pipelines(config: Config) -> Iterator[Line]:
    """Of every pipeline, if its prompt set is calibrated, runs in shadow mode, or is refused."""
    try:
        directory = resolve_checkpoint(config.models.triage.checkpoint, ModelKind.TRIAGE)
    except NodeError:
        return  # said under models.triage
    looked = {name: _attempt("", partial(_state_of, config, directory, name))
              for name in sorted({section.prompt_set for section in config.pipelines})}
    for section in config.pipelines:
        yield replace(looked[section.prompt_set], subject=f"pipeline {section.name}")


def _state_of(config: Config, directory: Path, name: str) -> str:
    """The state of a prompt set with a checkpoint. Raises ConfigurationError where a worker would refuse it."""
    prompt_set = load_prompt_set(name)
    scorer = scorer_sha256(directory, prompt_set.sha256, config.node.data_dir / "cache")
    models = config.models
    found = operating_points.load(
        directory, prompt_set, scorer, models.allow_unvalidated, models.triage.operating_points)
    try:
        _self_test(config, directory, prompt_set, scorer)
    except PromptSetRefused as error:
        raise PromptSetRefused(f"REFUSED, its studies are not evaluable: {error}") from error
    if found.unvalidated:
        return f"prompt set {name}: UNVALIDATED nominal points, research only"
    if found.points:
        return f"prompt set {name}: calibrated, by {found.file}"
    return (f"prompt set {name}: SHADOW MODE, nothing is raised or sent: {found.shadow_reason}; "
            f"cut-offs have to name scorer_sha256 {scorer}")


def _self_test(config: Config, directory: Path, prompt_set: PromptSet, scorer: str) -> None:
    """What a worker would refuse at load: prompts that this checkpoint turns round, probe images it confuses.

    On the CPU, so that a check takes no memory from a worker; large models are kept out unless probes ask for one.
    """
    from node.inference.medsiglip import MedSigLIP
    from node.inference.prompt_vectors import prompt_vectors
    from node.inference.torch_runtime import choose_device

    cache = config.node.data_dir / "cache"
    if prompt_set.probes is not None and prompt_set.probes.is_file():
        section = config.models.triage.model_copy(update={"device": "cpu"})
        MedSigLIP.load(section, prompt_set, cache, config.models.allow_unvalidated)
    else:
        prompt_vectors(directory, prompt_set, scorer, cache, choose_device("cpu", "models.triage.device"))


def _findings(config: Config) -> str:
    if config.models.findings.backend == "none":
        return "off: no findings are written"
    for name in config.findings_prompts:
        load_findings_prompt(name)
    if config.models.findings.backend == "openai":
        return _model_server(config.models.findings)
    directory = resolve_checkpoint(config.models.findings.checkpoint, ModelKind.FINDINGS)
    return f"{directory} ({_whose(manifest(directory).demo)})"


def _findings_prompts(config: Config) -> Iterator[Line]:
    """Of every pipeline, if the configured model can answer what it asks."""
    if config.models.findings.backend == "none":
        return
    looked = {name: _attempt("", partial(_answerable, config.models.findings, name))
              for name in sorted(config.findings_prompts)}
    for section in config.pipelines:
        for name in section.findings_prompts:
            yield replace(looked[name], subject=f"pipeline {section.name}, findings")


def _answerable(section: FindingsModelSection, name: str) -> str:
    """How much a prompt asks for. Raises ModelUnavailable where a worker would not ask it."""
    from node.inference.answerable import needed_tokens
    from node.inference.openai_chat import OpenAIChat

    prompt = load_findings_prompt(name)
    told = f"prompt {prompt.name} {prompt.version}, {prompt.images.at_most} image(s) at most"
    here = section.backend == "transformers" or lies_here(section.checkpoint)
    if here:
        directory = resolve_checkpoint(section.checkpoint, ModelKind.FINDINGS)
        told += f", {needed_tokens(directory, prompt)}"
    if section.backend == "openai":
        if prompt.images.at_most > 1 and not OpenAIChat.of(section, os.environ).abilities.several_images:
            raise ModelUnavailable(f"prompt {prompt.name!r} has up to {prompt.images.at_most} images, and "
                                   f"{section.url} takes one; raise its limit of images per prompt")
        told += "" if here else "; how much the server reads is not known here"
    return told


def _model_server(section: FindingsModelSection) -> str:
    """What the server is able to do, asked now; and where pictures of patients would go."""
    from node.inference.openai_chat import OpenAIChat

    model = OpenAIChat.of(section, os.environ)
    told = f"{section.url}, {model.name}: {model.abilities} ({_whose(model.demo)})"
    if not model.local and section.url.startswith("http:"):
        told += "; WARNING: pictures of patients leave this machine unencrypted; use https"
    return told


def _whose(demo: bool) -> str:
    return DEMO if demo else LICENCE


def _gpu() -> str:
    from node.inference.torch_runtime import describe_devices

    return describe_devices()


def _source(config: Config) -> str:
    source = config.study.source
    archive = Destination(name="study.source", ae_title=source.ae_title, host=source.host, port=source.port)
    name = f"{source.ae_title}@{source.host}:{source.port}"
    if DicomClient(config.node.ae_title).refused_classes(archive, [STUDY_ROOT_FIND]):
        raise PeerRefused(f"{name} takes no C-FIND from {config.node.ae_title}; allow it there, or clear study.source")
    return f"{name} takes C-FIND"


def _prior_source(config: Config, source: PriorSource) -> str:
    """C-ECHO, and whether it takes the requests that will be made of it."""
    client = DicomClient(config.node.ae_title)
    retrieve = STUDY_ROOT_MOVE if source.retrieve == "move" else STUDY_ROOT_GET
    client.echo(source.archive)
    name = f"{source.ae_title}@{source.host}:{source.port}"
    if refused := client.refused_classes(source.archive, [STUDY_ROOT_FIND, retrieve]):
        raise PeerRefused(f"{name} does not take {', '.join(refused)} from {config.node.ae_title}; allow it there, or "
                          f"change priors.{source.name}")
    told = f"{name} answered C-ECHO and takes C-FIND and C-{source.retrieve.upper()}"
    return told if source.retrieve == "get" else (
        f"{told}; it has to know {config.node.ae_title} as a C-MOVE destination at port {config.node.port}")


def _peer(config: Config, destination: Destination, store: bool) -> str:
    client = DicomClient(config.node.ae_title)
    client.echo(destination)
    name = f"{destination.ae_title}@{destination.host}:{destination.port}"
    if not store:
        return f"{name} answered C-ECHO"
    asked = destination.storage_commitment or destination.name == config.receive.storage_commitment.archive
    wanted = [*REPORT_CLASSES, *([COMMITMENT] if asked else [])]
    refused = client.refused_classes(destination, wanted)
    if refused:
        raise PeerRefused(f"{name} does not take {', '.join(refused)} from {config.node.ae_title}; allow them there")
    return f"{name} answered C-ECHO and takes every class the node sends"

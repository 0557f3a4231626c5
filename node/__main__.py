"""The command line: ``ainode``, the same as ``python -m node``.

What only some commands need is imported by them: the roles of a running node start here too, and stay small.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import sqlalchemy as sa
import typer

from node import app as composition
from node import audit
from node.config import Config, load
from node.database import now, reading, transaction
from node.errors import BadInput, NodeError, StorageError
from node.observability import configure_logging
from node.roles import Role
from node.supervisor import Supervisor, die_with_parent, visible_gpus

if TYPE_CHECKING:
    from rich.table import Table

    from node import delivery

COMMAND_CHAIN = "command-line"
"""Audit chain of what operators do here."""

PLAIN_WIDTH = 250
"""Columns where the output is no terminal, such as a file."""

app = typer.Typer(no_args_is_help=True, add_completion=False, help="A DICOM AI node beside the PACS.")
delivery_app = typer.Typer(no_args_is_help=True, help="Reports on their way to the destinations.")
commitment_app = typer.Typer(no_args_is_help=True, help="Storage commitment that senders asked for.")
audit_app = typer.Typer(no_args_is_help=True, help="The audit trail.")
models_app = typer.Typer(no_args_is_help=True, help="Checkpoints and prompt sets.")
app.add_typer(delivery_app, name="delivery")
app.add_typer(commitment_app, name="commitment")
app.add_typer(audit_app, name="audit")
app.add_typer(models_app, name="models")

ConfigFile = Annotated[Path | None, typer.Option("--config", help="The configuration file; defaults without one.")]
StudyUID = Annotated[str, typer.Argument(help="Study Instance UID")]


@app.command()
def run(
    config: ConfigFile = None,
    role: Annotated[Role | None, typer.Option(help="Start one role only; all four without it.")] = None,
    incarnation: Annotated[str, typer.Option(hidden=True)] = "",
    parent: Annotated[int, typer.Option(hidden=True)] = 0,
) -> None:
    """Run the node until it is told to stop."""
    settings = load(config)
    configure_logging("INFO", role.value if role else "node")
    if parent:
        die_with_parent()
        if os.getppid() != parent:
            raise typer.Exit(1)
    if role is not None:
        raise typer.Exit(composition.run_role(role, settings, incarnation))
    from node import checkup

    checkup.checkpoints(settings)  # before any process starts: a missing one is named at once
    composition.open_database(settings).dispose()
    where = ["run", *(["--config", str(config)] if config else [])]
    gpus = visible_gpus()
    workers = [Role.WORKER] * max(1, len(gpus))
    roles = [Role.RECEIVER] * settings.receive.processes + [Role.CLERK, *workers, Role.WEB]
    supervisor = Supervisor(command=where, roles=roles, incarnation=incarnation or uuid.uuid4().hex[:12], gpus=gpus)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stopping.set())
    raise typer.Exit(supervisor.run())


@app.command()
def demo(
    config: ConfigFile = None,
    exit_: Annotated[bool, typer.Option("--exit", help="End when every report is stored and committed.")] = False,
    write: Annotated[Path | None, typer.Option(help="Only write drawn studies into this folder.")] = None,
    count: Annotated[int, typer.Option(help="How many studies.")] = 12,
    seed: Annotated[int, typer.Option(help="Seed of the first drawn phantom.")] = 1,
    pacs: Annotated[list[str] | None, typer.Option(help="A switch of the demo PACS, such as route_back.")] = None,
) -> None:
    """Node, demo models, a small PACS and drawn studies, over DICOM on this machine."""
    from node.demo import show

    if write is not None:
        show.write(write, count, seed)
        return
    raise typer.Exit(show.run(config, count=count, seed=seed, switches=tuple(pacs or ()), stay=not exit_))


@app.command()
def check(
    config: ConfigFile = None,
    store: Annotated[bool, typer.Option(help="Also compare files with rows and repair; try what is sent.")] = False,
) -> None:
    """Look at configuration, models, database, GPU and destinations."""
    from rich.console import Console

    from node import checkup

    console, problems = Console(), 0
    for line in checkup.lines(load(config), store):
        problems += not line.ok
        mark = "[green]ok[/]     " if line.ok else "[red]PROBLEM[/]"
        console.print(f"{mark} [bold]{line.subject}[/]: ", end="")
        console.print(line.text, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1 if problems else 0)


@app.command()
def send(
    files: Annotated[list[Path], typer.Argument(help="DICOM files")],
    to: Annotated[str, typer.Option(help="host:port")],
    aet: Annotated[str, typer.Option(help="Called AE title")],
    config: ConfigFile = None,
) -> None:
    """C-STORE files to a peer, as a modality would."""
    from node.config import Destination
    from node.dicom_client import DicomClient

    host, _, port = to.rpartition(":")
    if not host or not port.isdecimal():
        raise typer.BadParameter(f"--to {to!r}: expected host:port")
    peer = Destination(name="peer", ae_title=aet, host=host, port=int(port))
    refused = 0
    for outcome in DicomClient(load(config).node.ae_title).store(peer, files):
        status = "no answer" if outcome.status is None else f"0x{outcome.status:04X}"
        refused += outcome.status != 0
        typer.echo(f"{status} {outcome.sop_instance_uid} {outcome.reason}".rstrip())
    raise typer.Exit(1 if refused else 0)


@app.command("worklist")
def worklist_command(
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="As GET /api/worklist answers.")] = False,
) -> None:
    """The worklist in its order."""
    from node import worklist


    engine = composition.open_database(load(config))
    with reading(engine) as connection:
        entries = worklist.entries(connection, now=now())
    if as_json:
        typer.echo(json.dumps({"entries": [worklist.to_json(entry) for entry in entries]}, ensure_ascii=False))
        return
    table = _table("priority", "state", "study", "flagged", "findings", "report", "delivery", "time to flag")
    for entry in entries:
        flagged = ", ".join(found.concept.meaning for found in entry.findings if found.presence.value == "present")
        flag = "" if entry.time_to_flag_ms is None else f"{entry.time_to_flag_ms} ms"
        table.add_row(entry.priority.name, entry.state.value, entry.study_instance_uid, flagged or entry.reason,
                      entry.findings_state.value, entry.report_state.value, entry.delivery.value, flag)
    _print(table)


@app.command()
def complete(study: StudyUID, config: ConfigFile = None) -> None:
    """Complete a study now instead of waiting for its quiet time."""
    from node import versions

    with _writing(config) as connection:
        versions.request_complete(connection, COMMAND_CHAIN, study)
    typer.echo(f"study {study} will be completed")


@app.command()
def replay(study: StudyUID, config: ConfigFile = None) -> None:
    """Run a study again as a new version, from the stored instances."""
    from node import versions

    with _writing(config) as connection:
        versions.request_replay(connection, COMMAND_CHAIN, study)
    typer.echo(f"study {study} will be run again")


@app.command()
def report(file: Path, config: ConfigFile = None) -> None:
    """Print one of our Structured Reports."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    from sr_writer import read_back

    load(config)
    try:
        dataset = dcmread(file)
    except (OSError, InvalidDicomError) as error:
        raise BadInput(f"{file}: cannot be read as DICOM ({type(error).__name__}); name a report's file") from error
    for line in read_back.lines(dataset):
        typer.echo(line)


@app.command()
def conformance(config: ConfigFile = None) -> None:
    """Print SOP classes, roles and transfer syntaxes as the node negotiates them."""
    from node import conformance as conformance_of

    typer.echo(conformance_of.statement(load(config)))


@app.command()
def migrate(config: ConfigFile = None) -> None:
    """Bring the database up to date."""
    engine = composition.open_database(load(config))
    typer.echo(f"{engine.url.render_as_string()} is up to date")


@delivery_app.command("list")
def delivery_list(config: ConfigFile = None, study: str = "", destination: str = "") -> None:
    """What was sent where, and with which proof."""
    from node import delivery


    engine = composition.open_database(load(config))
    table = _table("destination", "state", "attempts", "study", "instance", "reason")
    with reading(engine) as connection:
        for row in delivery.list_deliveries(connection, _selection(study, destination)):
            table.add_row(row["destination"], row["state"], str(row["attempts"]), row["study_instance_uid"],
                          row["sop_instance_uid"], row["reason"])
    _print(table)


@delivery_app.command("retry")
def delivery_retry(config: ConfigFile = None, study: str = "", destination: str = "") -> None:
    """Try again what is not proved, dead letters too."""
    from node import delivery


    with _writing(config) as connection:
        number = delivery.retry(connection, COMMAND_CHAIN, _selection(study, destination))
    typer.echo(f"{number} instances will be sent again")


@delivery_app.command("discard")
def delivery_discard(config: ConfigFile = None, study: str = "", destination: str = "") -> None:
    """Give up what is not proved."""
    from node import delivery


    with _writing(config) as connection:
        number = delivery.discard(connection, COMMAND_CHAIN, _selection(study, destination))
    typer.echo(f"{number} instances are discarded")


@commitment_app.command("list")
def commitment_list(config: ConfigFile = None) -> None:
    """What senders asked to commit, and what they were told."""
    from node.delivery import requests

    engine = composition.open_database(load(config))
    table = _table("sender", "state", "asked for", "committed", "failed", "transaction", "reason")
    with reading(engine) as connection:
        for row in requests.list_requests(connection):
            numbers = (str(row[name]) for name in ("instances", "committed", "failed"))
            table.add_row(row["calling_ae_title"], row["state"], *numbers, row["transaction_uid"], row["reason"])
    _print(table)


@commitment_app.command("retry")
def commitment_retry(config: ConfigFile = None) -> None:
    """Tell senders again that could not be told."""
    from node.delivery import requests

    with _writing(config) as connection:
        number = requests.retry(connection, COMMAND_CHAIN)
    typer.echo(f"{number} senders will be told again")


@audit_app.command("verify")
def audit_verify(config: ConfigFile = None) -> None:
    """Recompute every digest; non-zero when an event was changed or is missing."""
    engine = composition.open_database(load(config))
    with reading(engine) as connection:
        found = audit.verify(connection)
    typer.echo(f"{found.events} events in {found.chains} chains, {found.anchors} anchors")
    for problem in found.problems:
        typer.echo(problem, err=True)
    raise typer.Exit(1 if found.problems else 0)


@audit_app.command("export")
def audit_export(config: ConfigFile = None, study: str = "") -> None:
    """Every event as one JSON object per line."""
    engine = composition.open_database(load(config))
    with reading(engine) as connection:
        for event in audit.events(connection, study):
            typer.echo(audit.canonical(event))


@models_app.command("list")
def models_list(config: ConfigFile = None) -> None:
    """Configured checkpoints and shipped prompt sets."""
    from node.inference import prompt_sets

    settings = load(config)
    typer.echo(f"triage    {settings.models.triage.checkpoint}")
    typer.echo(f"findings  {settings.models.findings.checkpoint} ({settings.models.findings.backend})")
    for name in prompt_sets.available():
        typer.echo(f"prompt set {name}")


@models_app.command("verify")
def models_verify(config: ConfigFile = None) -> None:
    """Load every configured model and print its identity; a prompt set that was refused ends it non-zero."""
    loaded = composition.load_models(load(config))
    named = {name: model.identity for name, model in loaded.triage.items()}
    named |= {name: model.identity for name, model in loaded.findings.items()}
    for name, identity in named.items():
        typer.echo(f"{name}: {identity.name} {identity.version} sha256 {identity.sha256} device {identity.device_uid}")
    for name, reason in loaded.refused.items():
        typer.echo(f"{name}: REFUSED: {reason}")
    if loaded.refused:
        raise typer.Exit(1)


def _table(*names: str) -> Table:
    """A table whose UIDs stay whole, so that they can be copied."""
    from rich.table import Column, Table

    return Table(*(Column(name, no_wrap=name in ("study", "instance", "transaction")) for name in names))


def _print(table: Table) -> None:
    from rich.console import Console

    console = Console()
    (console if console.is_terminal else Console(width=PLAIN_WIDTH)).print(table)


def _selection(study: str, destination: str) -> delivery.Selection:
    from node import delivery

    return delivery.Selection(study_instance_uid=study, destination=destination)


@contextmanager
def _writing(config: Path | None) -> Iterator[sa.Connection]:
    settings: Config = load(config)
    with transaction(composition.open_database(settings)) as connection:
        yield connection


def main() -> None:
    """Entry point: errors of ours are one sentence and exit code 2."""
    try:
        app()
    except NodeError as error:
        told = str(error)
        if isinstance(error, StorageError):  # the database driver goes on for some lines
            told = told.partition("\n")[0]
        from rich.console import Console

        Console(stderr=True).print(f"{type(error).__name__}: {told}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()

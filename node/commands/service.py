"""Commands about the node as a whole."""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path
from typing import Annotated

import typer

from node import app as composition
from node.commands.console import ConfigFile
from node.config import load
from node.observability import configure_logging
from node.roles import Role
from node.supervisor import Supervisor, die_with_parent, visible_gpus


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


def conformance(config: ConfigFile = None) -> None:
    """Print SOP classes, roles and transfer syntaxes as the node negotiates them."""
    from node import conformance as conformance_of

    typer.echo(conformance_of.statement(load(config)))


def migrate(config: ConfigFile = None) -> None:
    """Bring the database up to date."""
    engine = composition.open_database(load(config))
    typer.echo(f"{engine.url.render_as_string()} is up to date")


def models_list(config: ConfigFile = None) -> None:
    """Configured checkpoints and shipped prompt sets."""
    from node.inference import prompt_sets

    settings = load(config)
    typer.echo(f"triage    {settings.models.triage.checkpoint}")
    typer.echo(f"findings  {settings.models.findings.checkpoint} ({settings.models.findings.backend})")
    for name in prompt_sets.available():
        typer.echo(f"prompt set {name}")


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

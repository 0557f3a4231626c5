"""Commands about the audit trail."""

from __future__ import annotations

import typer

from node import app as composition
from node import audit
from node.commands.console import ConfigFile
from node.config import load
from node.database import reading


def audit_verify(config: ConfigFile = None) -> None:
    """Recompute every digest; non-zero when an event was changed or is missing."""
    engine = composition.open_database(load(config))
    with reading(engine) as connection:
        found = audit.verify(connection)
    typer.echo(f"{found.events} events in {found.chains} chains, {found.anchors} anchors")
    for problem in found.problems:
        typer.echo(problem, err=True)
    raise typer.Exit(1 if found.problems else 0)


def audit_export(config: ConfigFile = None, study: str = "") -> None:
    """Every event as one JSON object per line."""
    engine = composition.open_database(load(config))
    with reading(engine) as connection:
        for event in audit.events(connection, study):
            typer.echo(audit.canonical(event))

"""What commands share: their options, tables, and a transaction on the configured database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import sqlalchemy as sa
import typer

from node import app as composition
from node.config import Config, load
from node.database import transaction

if TYPE_CHECKING:
    from rich.table import Table

COMMAND_CHAIN = "command-line"
"""Audit chain of what operators do here."""

PLAIN_WIDTH = 250
"""Columns where the output is no terminal, such as a file."""

ConfigFile = Annotated[Path | None, typer.Option("--config", help="The configuration file; defaults without one.")]
StudyUID = Annotated[str, typer.Argument(help="Study Instance UID")]


def table_of(*names: str) -> Table:
    """A table whose UIDs stay whole, so that they can be copied."""
    from rich.table import Column, Table

    return Table(*(Column(name, no_wrap=name in ("study", "instance", "transaction")) for name in names))


def show(table: Table) -> None:
    """Print it, as wide as it needs where the output is no terminal."""
    from rich.console import Console

    console = Console()
    (console if console.is_terminal else Console(width=PLAIN_WIDTH)).print(table)


@contextmanager
def writing(config: Path | None) -> Iterator[sa.Connection]:
    """A transaction on the configured database. Raises ConfigurationError and StorageError."""
    settings: Config = load(config)
    with transaction(composition.open_database(settings)) as connection:
        yield connection

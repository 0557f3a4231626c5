"""Commands about what goes out: reports to their destinations, and answers to senders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from node import app as composition
from node.commands.console import COMMAND_CHAIN, ConfigFile, show, table_of, writing
from node.config import load
from node.database import reading

if TYPE_CHECKING:
    from node import delivery


def delivery_list(config: ConfigFile = None, study: str = "", destination: str = "") -> None:
    """What was sent where, and with which proof."""
    from node import delivery

    engine = composition.open_database(load(config))
    table = table_of("destination", "state", "attempts", "study", "instance", "reason")
    with reading(engine) as connection:
        for row in delivery.list_deliveries(connection, _selection(study, destination)):
            table.add_row(row["destination"], row["state"], str(row["attempts"]), row["study_instance_uid"],
                          row["sop_instance_uid"], row["reason"])
    show(table)


def delivery_retry(config: ConfigFile = None, study: str = "", destination: str = "") -> None:
    """Try again what is not proved, dead letters too."""
    from node import delivery

    with writing(config) as connection:
        number = delivery.retry(connection, COMMAND_CHAIN, _selection(study, destination))
    typer.echo(f"{number} instances will be sent again")


def delivery_discard(config: ConfigFile = None, study: str = "", destination: str = "") -> None:
    """Give up what is not proved."""
    from node import delivery

    with writing(config) as connection:
        number = delivery.discard(connection, COMMAND_CHAIN, _selection(study, destination))
    typer.echo(f"{number} instances are discarded")


def commitment_list(config: ConfigFile = None) -> None:
    """What senders asked to commit, and what they were told."""
    from node.delivery import requests

    engine = composition.open_database(load(config))
    table = table_of("sender", "state", "asked for", "committed", "failed", "transaction", "reason")
    with reading(engine) as connection:
        for row in requests.list_requests(connection):
            numbers = (str(row[name]) for name in ("instances", "committed", "failed"))
            table.add_row(row["calling_ae_title"], row["state"], *numbers, row["transaction_uid"], row["reason"])
    show(table)


def commitment_retry(config: ConfigFile = None) -> None:
    """Tell senders again that could not be told."""
    from node.delivery import requests

    with writing(config) as connection:
        number = requests.retry(connection, COMMAND_CHAIN)
    typer.echo(f"{number} senders will be told again")


def _selection(study: str, destination: str) -> delivery.Selection:
    from node import delivery

    return delivery.Selection(study_instance_uid=study, destination=destination)

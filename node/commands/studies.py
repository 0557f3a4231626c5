"""Commands about studies and objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from node import app as composition
from node.commands.console import COMMAND_CHAIN, ConfigFile, StudyUID, show, table_of, writing
from node.config import load
from node.database import now, reading
from node.errors import BadInput


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
    table = table_of("priority", "state", "study", "flagged", "findings", "report", "delivery", "time to flag")
    for entry in entries:
        flagged = ", ".join(found.concept.meaning for found in entry.findings if found.presence.value == "present")
        flag = "" if entry.time_to_flag_ms is None else f"{entry.time_to_flag_ms} ms"
        table.add_row(entry.priority.name, entry.state.value, entry.study_instance_uid, flagged or entry.reason,
                      entry.findings_state.value, entry.report_state.value, entry.delivery.value, flag)
    show(table)


def complete(study: StudyUID, config: ConfigFile = None) -> None:
    """Complete a study now instead of waiting for its quiet time."""
    from node import versions

    with writing(config) as connection:
        versions.request_complete(connection, COMMAND_CHAIN, study)
    typer.echo(f"study {study} will be completed")


def replay(study: StudyUID, config: ConfigFile = None) -> None:
    """Run a study again as a new version, from the stored instances."""
    from node import versions

    with writing(config) as connection:
        versions.request_replay(connection, COMMAND_CHAIN, study)
    typer.echo(f"study {study} will be run again")


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

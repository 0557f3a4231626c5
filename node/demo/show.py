"""``ainode demo``: a node, its models, a small PACS and drawn studies, over DICOM on this machine."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from pydicom.dataset import Dataset
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from node.config import load
from node.demo.local_node import LocalNode, prepare
from node.demo.pacs import PacsSwitches, SmallPacs
from node.demo.phantom_dicom import decoy, drawn_dataset, write_studies
from node.domain import DEMO_NOTICE, JSON
from node.errors import ConfigurationError

PACS_AE_TITLE = "DEMOPACS"
REPORTS_PER_STUDY = 2
PLAIN_WIDTH = 132
"""Columns where the output is no terminal, such as a log."""

FINISH_SECONDS = 150.0
SWITCHES = ("route_back", "coerce_ids", "resend_all", "add_late_image", "refuse_first", "hang")


def write(folder: Path, count: int, seed: int) -> None:
    """Write drawn studies and their truth, for use with any sender."""
    write_studies(folder, count, seed, date.today())
    print(f"{count} drawn studies and truth.json are in {folder}")  # noqa: T201 - this is the command's answer


def run(config: Path | None, *, count: int, seed: int, switches: Sequence[str], stay: bool) -> int:
    """Show the whole way. 0 when every report is stored and committed in the PACS, else 1."""
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    folder = Path(tempfile.mkdtemp(prefix="ainode-demo-"))
    sources = _draw(folder / "studies", count, seed)
    with SmallPacs(PACS_AE_TITLE, folder / "pacs", _switches(switches), sources=sources) as pacs:
        place = _prepare(config, folder, pacs.port)
        pacs.meet(load(place.config).node.ae_title, "127.0.0.1", place.port)
        console.rule(f"[bold]{DEMO_NOTICE}")
        console.print("starting receiver, clerk, worker and web …")
        with place.running():
            pacs.send(sources)
            entries = _follow(place, pacs, console, count)
            _show(console, place, pacs, entries)
            done = _is_done(pacs, entries, count)
            if stay:
                _stay(console, place)
    console.print("[green]every report is stored and committed[/]" if done else "[red]not every report arrived[/]")
    return 0 if done else 1


def _switches(names: Sequence[str]) -> PacsSwitches:
    unknown = set(names) - set(SWITCHES)
    if unknown:
        raise ConfigurationError(f"--pacs {', '.join(sorted(unknown))}: expected some of {', '.join(SWITCHES)}")
    return replace(PacsSwitches(), hang_seconds=5.0, **dict.fromkeys(names, True))


def _draw(folder: Path, count: int, seed: int) -> list[Path]:
    """Drawn chests, every fourth one ordered STAT, and a knee in the middle that must be declined."""
    folder.mkdir(parents=True)
    salt = folder.parent.name
    return [_write(folder / f"{number:03d}.dcm", _study(number, count, seed, salt)) for number in range(count)]


def _study(number: int, count: int, seed: int, salt: str) -> Dataset:
    if number == count // 2:
        return decoy(seed + number, salt=salt)
    return drawn_dataset(seed + number, salt=salt, priority="STAT" if number % 4 == 3 else "ROUTINE")


def _write(path: Path, dataset: Dataset) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def _prepare(config: Path | None, folder: Path, pacs_port: int) -> LocalNode:
    """The operator's models and pipelines, this machine's ports, and the demo's PACS."""
    pacs = {"name": "demo-pacs", "ae_title": PACS_AE_TITLE, "host": "127.0.0.1", "port": pacs_port,
            "storage_commitment": True}
    return prepare(folder, config, {
        "study": {"quiet_seconds": 1.0}, "receive": {"min_free_disk_mb": 100},
        "delivery": {"retry_seconds": [0.5, 1, 2, 4], "commitment_timeout_seconds": 10},
    }, [pacs])


def _follow(place: LocalNode, pacs: SmallPacs, console: Console, count: int) -> list[JSON]:
    """Progress until every study is done, or time is up."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        flagged = progress.add_task("placed on the worklist", total=count)
        reported = progress.add_task("reports stored in the PACS", total=REPORTS_PER_STUDY * (count - 1))
        committed = progress.add_task("reports committed", total=REPORTS_PER_STUDY * (count - 1))
        entries: list[JSON] = []
        deadline = time.monotonic() + FINISH_SECONDS
        while time.monotonic() < deadline:
            entries = place.worklist() or entries
            progress.update(flagged, completed=sum(entry["state"] != "receiving" for entry in entries))
            progress.update(reported, completed=len(pacs.objects))
            progress.update(committed, completed=len(pacs.committed))
            if _is_done(pacs, entries, count):
                break
            time.sleep(0.2)
    return entries


def _is_done(pacs: SmallPacs, entries: Sequence[JSON], count: int) -> bool:
    """Every accepted study has all its reports stored and committed; the declined one says why."""
    declined = [entry for entry in entries if entry["state"] == "not_evaluable"]
    accepted = [entry for entry in entries if entry["state"] == "confirmed"]
    committed = all(entry["delivery"] == "committed" for entry in accepted)
    stored = {kept.study_instance_uid for kept in pacs.objects.values()}
    return (len(declined) == 1 and len(accepted) == count - 1 and committed
            and {entry["study_instance_uid"] for entry in accepted} <= stored
            and set(pacs.objects) <= set(pacs.committed))


def _show(console: Console, place: LocalNode, pacs: SmallPacs, entries: Sequence[JSON]) -> None:
    table = Table("", "priority", "ordered", "patient", "flagged, or the reason", "state", "delivery", "time to flag",
                  title="Worklist, in the order it is read")
    for number, entry in enumerate(entries, 1):
        milliseconds = entry["time_to_flag_ms"]
        table.add_row(
            str(number), entry["priority"], entry["order_priority"], entry["patient_id"],
            _flagged(entry) or entry["reason"], entry["state"], entry["delivery"],
            "" if milliseconds is None else f"{milliseconds} ms")
    console.print(table)
    console.print(f"{len(pacs.objects)} reports in the PACS: {place.folder / 'pacs'}", soft_wrap=True)
    console.print(f"node data and log: {place.folder / 'node'}, {place.log}", soft_wrap=True)
    console.print(f"worklist page: {place.web}/", soft_wrap=True)


def _flagged(entry: JSON) -> str:
    return "\n".join(f"{found['concept']}{' ' + found['side'] if found['side'] else ''} {found['score']:.2f}"
                     for found in entry["findings"] if found["presence"] == "present")


def _stay(console: Console, place: LocalNode) -> None:
    console.print(f"the node runs until Ctrl-C; look at {place.web}/")
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print("stopping …")

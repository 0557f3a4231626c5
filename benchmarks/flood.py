"""A migration flood: does it take longer to flag a fresh study while thousands of old ones wait?

Two nodes, one after the other, receive the same drawn studies over DICOM at the same pace. Before the second
starts, old studies are put into its store and its database as a migration would have left them there: received, not
looked at. They are worked on while nothing fresh is.

    python benchmarks/flood.py [--old 5000] [--studies 60] [--every 5]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import sqlalchemy as sa
from pydicom import dcmread
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from node.app import open_database
from node.config import load
from node.database import connect, instance, reading, run, study, transaction, worklist_entry
from node.demo.local_node import LocalNode, prepare
from node.demo.pacs import SmallPacs
from node.demo.phantom_dicom import write_studies
from node.domain import JSON, Lane

WAIT_SECONDS = 300.0
OLD_DAYS = 400
CHUNK = 1000
FOLDER = Path("instances/flood")


@dataclass(frozen=True)
class Outcome:
    """Milliseconds to flag each fresh study, and how many old studies were booked and worked on meanwhile."""

    milliseconds: list[float]
    booked: int
    done: int


def flood(node: LocalNode, image: Path, count: int) -> None:
    """Studies of one image each, received and not looked at."""
    config = load(node.config)
    engine = open_database(config)
    (config.node.data_dir / FOLDER).mkdir(parents=True)
    head, received_at = dcmread(image), time.time()
    with Progress(transient=True) as progress:
        for begin in progress.track(range(0, count, CHUNK), description="old studies"):
            rows = [_old(config.node.data_dir, head, number, received_at)
                    for number in range(begin, min(begin + CHUNK, count))]
            with transaction(engine) as connection:
                connection.execute(sa.insert(instance), rows)
    engine.dispose()


def _old(data_dir: Path, image: JSON, number: int, received_at: float) -> JSON:
    uid = f"2.25.4{number:09d}"
    image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID = uid, f"{uid}.1", f"{uid}.1.1"
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    path = FOLDER / f"{number}.dcm"
    image.save_as(data_dir / path, enforce_file_format=True)
    return {
        "sop_class_uid": image.SOPClassUID, "sop_instance_uid": f"{uid}.1.1", "study_instance_uid": uid,
        "series_instance_uid": f"{uid}.1", "transfer_syntax_uid": image.file_meta.TransferSyntaxUID,
        "modality": image.Modality, "path": str(path), "size": (data_dir / path).stat().st_size,
        "calling_ae_title": "MIGRATION", "called_ae_title": "AINODE", "source_host": "127.0.0.1",
        "received_at": received_at, "lane": Lane.HISTORICAL.value, "state": "received", "evidence": False, "reason": "",
    }


def measure(folder: Path, files: Sequence[Path], old: Path, count: int, every: float) -> Outcome:
    """Run a node in ``folder`` with ``count`` old studies, and send it ``files`` one by one."""
    folder.mkdir()
    node = prepare(folder, None, {"study": {"quiet_seconds": 2.0}, "receive": {"min_free_disk_mb": 100}}, [])
    if count:
        flood(node, old, count)
    with node.running(), SmallPacs("BENCHPACS", folder / "pacs") as pacs:
        pacs.meet("AINODE", "127.0.0.1", node.port)
        start = time.monotonic()
        for number, file in enumerate(files):
            time.sleep(max(0.0, start + number * every - time.monotonic()))
            pacs.send([file])
        return _outcome(node, len(files))


def _outcome(node: LocalNode, count: int) -> Outcome:
    engine = connect(load(node.config).database.url)
    deadline = time.monotonic() + WAIT_SECONDS
    while len(flagged := _flagged(engine)) < count and time.monotonic() < deadline:
        time.sleep(0.5)
    old = study.c.lane == Lane.HISTORICAL.value
    runs = run.join(study, study.c.study_instance_uid == run.c.study_instance_uid)
    done = sa.select(sa.func.count()).select_from(runs)
    with reading(engine) as connection:
        booked = connection.scalar(sa.select(sa.func.count()).select_from(study).where(old)) or 0
        worked = connection.scalar(done.where(old, run.c.state != "running")) or 0
    engine.dispose()
    return Outcome(flagged, booked, worked)


def _flagged(engine: sa.Engine) -> list[float]:
    entry = worklist_entry.c
    query = (sa.select((entry.flagged_at - entry.decisive_at) * 1000)
             .join(study, study.c.study_instance_uid == entry.study_instance_uid)
             .where(study.c.lane == Lane.FRESH.value, entry.flagged_at.is_not(None)))
    with reading(engine) as connection:
        return list(connection.scalars(query))


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which ``share`` of the others are."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * len(ordered)))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", type=int, default=5000, help="studies of the flood")
    parser.add_argument("--studies", type=int, default=60, help="fresh studies")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two fresh studies")
    parser.add_argument("--seed", type=int, default=7_000_000)
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 110)
    folder = Path(tempfile.mkdtemp(prefix="ainode-flood-"))
    try:
        write_studies(folder / "old", 1, arguments.seed, date.today() - timedelta(days=OLD_DAYS))
        write_studies(folder / "fresh", arguments.studies, arguments.seed + 1, date.today())
        (old,), files = (folder / "old").glob("*.dcm"), sorted((folder / "fresh").glob("*.dcm"))
        outcomes = {count: measure(folder / f"node-{count}", files, old, count, arguments.every)
                    for count in (0, arguments.old)}
        return _print(console, outcomes, arguments.studies)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _print(console: Console, outcomes: dict[int, Outcome], studies: int) -> int:
    table = Table("ms to flag", "fresh", "p50", "p95", "worst", "old booked", "old done", title="Fresh among old")
    for count, outcome in outcomes.items():
        times = outcome.milliseconds or [float("nan")]
        table.add_row(f"{count} old studies", str(len(outcome.milliseconds)), f"{statistics.median(times):.0f}",
                      f"{percentile(times, 0.95):.0f}", f"{max(times):.0f}", str(outcome.booked), str(outcome.done))
    console.print(table)
    return 0 if all(len(outcome.milliseconds) == studies for outcome in outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

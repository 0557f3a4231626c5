"""Time to flag: from an image's row commit to its study's first place on the worklist, and to the first proof outside.

A node of its own with the demo models receives drawn studies over DICOM and delivers to a small PACS.
The floor is measured in the same run: decode and score of one image in this process, nothing around it.

The share of each stage is told by the audit trail of the node: from the row's commit to being booked, queued, decoded,
scored, and to the entry's commit.

    python benchmarks/time_to_flag.py [--studies 200] [--per-second 2] [--senders 1]    --per-second 0: at full speed
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from itertools import pairwise
from pathlib import Path

import sqlalchemy as sa
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from node import images
from node.config import TriageModelSection
from node.database import audit_event, worklist_entry
from node.demo.local_node import LocalNode, prepare
from node.demo.pacs import SmallPacs
from node.demo.phantom_dicom import write_studies
from node.domain import JSON
from node.inference.medsiglip import MedSigLIP
from node.inference.prompt_sets import load_prompt_set
from node.inference.torch_runtime import set_threads

WAIT_SECONDS = 600.0
FLOOR_IMAGES = 20
STAGES = ("received to booked", "booked to begun (queue)", "decoded", "scored", "scored to entry committed")


def floor_ms(files: Sequence[Path], cache: Path) -> list[float]:
    """Milliseconds to decode and score each of some images, one after the other."""
    set_threads(1)
    model = MedSigLIP.load(TriageModelSection(), load_prompt_set("demo-chest"), cache, allow_unvalidated=False)
    model.score([images.projection(files[0])])
    times = []
    for file in files[:FLOOR_IMAGES]:
        start = time.perf_counter()
        model.score([images.projection(file)])
        times.append((time.perf_counter() - start) * 1000)
    return times


def send(pacs: SmallPacs, files: Sequence[Path], per_second: float, senders: int) -> float:
    """Send the studies at a steady pace from so many senders, or in one association each; seconds it took."""
    start = time.monotonic()

    def one(sender: int) -> None:
        if per_second <= 0:
            pacs.send(files[sender::senders])
            return
        for number in range(sender, len(files), senders):
            time.sleep(max(0.0, start + number / per_second - time.monotonic()))
            pacs.send([files[number]])

    with ThreadPoolExecutor(senders) as pool:
        list(pool.map(one, range(senders)))
    return time.monotonic() - start


def stages_ms(database: Path) -> dict[str, list[float]]:
    """Milliseconds of every study between the points that the node wrote down on its way to its first flag."""
    engine = sa.create_engine(f"sqlite:///{database}")
    with engine.connect() as connection:
        events = connection.execute(sa.select(
            audit_event.c.study_instance_uid, audit_event.c.action, audit_event.c.at, audit_event.c.detail,
        ).where(audit_event.c.action.in_(["instance.accepted", "stage.early"])).order_by(audit_event.c.at)).all()
        entries = connection.execute(sa.select(
            worklist_entry.c.study_instance_uid, worklist_entry.c.decisive_at, worklist_entry.c.flagged_at)).all()
    engine.dispose()
    booked = {row.study_instance_uid: row.at for row in events if row.action == "instance.accepted"}
    scored = {row.study_instance_uid: json.loads(row.detail) for row in events if row.action == "stage.early"}
    taken: dict[str, list[float]] = {name: [] for name in STAGES}
    for entry in entries:
        told = scored.get(entry.study_instance_uid, {})
        if entry.flagged_at is None or "scored_at" not in told or entry.study_instance_uid not in booked:
            continue
        points = (entry.decisive_at, booked[entry.study_instance_uid], told["began_at"], told["decoded_at"],
                  told["scored_at"], entry.flagged_at)
        for name, (begin, end) in zip(STAGES, pairwise(points), strict=True):
            taken[name].append((end - begin) * 1000)
    return taken


def finished(node: LocalNode, count: int) -> list[JSON]:
    """The worklist once every study is delivered, or when time is up."""
    deadline = time.monotonic() + WAIT_SECONDS
    with Progress(transient=True) as progress:
        task = progress.add_task("delivered", total=count)
        while True:
            entries = node.worklist()
            done = sum(entry["delivery"] == "committed" or entry["state"] == "not_evaluable" for entry in entries)
            progress.update(task, completed=done)
            if done >= count or time.monotonic() > deadline:
                return entries
            time.sleep(1.0)


def row(table: Table, name: str, values: Sequence[float], floor: float) -> None:
    """p50, p95, the worst, and p50 as a multiple of the floor."""
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    p50 = statistics.median(ordered)
    table.add_row(name, str(len(ordered)), f"{p50:.0f}", f"{p95:.0f}", f"{ordered[-1]:.0f}", f"{p50 / floor:.1f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--per-second", type=float, default=2.0)
    parser.add_argument("--senders", type=int, default=1)
    parser.add_argument("--seed", type=int, default=5_000_000)
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 110)
    folder = Path(tempfile.mkdtemp(prefix="ainode-bench-"))
    try:
        write_studies(folder / "studies", arguments.studies, arguments.seed, date.today())
        files = sorted((folder / "studies").glob("*.dcm"))
        floor = floor_ms(files, folder / "cache")
        with SmallPacs("BENCHPACS", folder / "pacs") as pacs:
            node = prepare(folder, None, {"study": {"quiet_seconds": 2.0}, "receive": {"min_free_disk_mb": 100}}, [
                {"name": "pacs", "ae_title": "BENCHPACS", "host": "127.0.0.1", "port": pacs.port,
                 "storage_commitment": True}])
            pacs.meet("AINODE", "127.0.0.1", node.port)
            with node.running():
                seconds = send(pacs, files, arguments.per_second, arguments.senders)
                entries = finished(node, arguments.studies)
        taken = stages_ms(folder / "node.sqlite")
        return _print(console, entries, floor, arguments.studies, seconds, taken)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _print(console: Console, entries: Sequence[JSON], floor: Sequence[float], count: int, seconds: float,
           taken: Mapping[str, Sequence[float]]) -> int:
    base = statistics.median(floor)
    table = Table("ms", "studies", "p50", "p95", "worst", "p50 / floor",
                  title=f"{count} drawn studies in {seconds:.0f} s, {count / seconds:.1f} a second")
    row(table, "floor: decode and score alone", floor, base)
    for name, key in (("time to flag", "time_to_flag_ms"), ("time to first proof in the PACS", "time_to_notify_ms")):
        row(table, name, [entry[key] for entry in entries if entry[key] is not None] or [float("nan")], base)
    for name, values in taken.items():
        row(table, f"of the time to flag: {name}", values or [float("nan")], base)
    console.print(table)
    committed = sum(entry["delivery"] == "committed" for entry in entries)
    console.print(f"{committed} of {count} studies have their reports committed")
    return 0 if committed == count else 1


if __name__ == "__main__":
    sys.exit(main())

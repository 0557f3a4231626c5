"""``kill -9`` of a receiver under parallel senders, over and over: what was answered Success has to be there.

    python -m tests.tools.kill --kills 30 --engine fast
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from node.intake.part10 import file_meta
from tests.tools.receiver import files_in, made, sent, stored_data_set
from tests.tools.running_node import AE_TITLE, RunningNode
from tests.tools.waiting import wait_until

ENGINES = ("standard", "fast")
"""As ``receive.engine`` names them."""

SENDERS = 8
FILES_PER_SENDER = 60
SMALL, LARGE = 30_000, 1_500_000
"""Bytes of an instance; each eighth is large, so that kills fall into the middle of one too."""

MOST_ROWS = 250
"""A kill comes at a random number of rows up to this one."""

PIXEL_DATA = b"\xe0\x7f\x10\x00"
SENDING = re.compile(r"Sending file: (?P<file>\S+)")
SUCCESS = "Received Store Response (Success)"
CLEAN = "files and rows agree"


@dataclass(frozen=True, kw_only=True)
class Strike:
    """One kill: the files whose senders heard Success, and how many senders were cut off."""

    answered: list[Path]
    cut_off: int


@dataclass(frozen=True, kw_only=True)
class Sender:
    """A storescu that tells what it hears; it stops at the first failure."""

    process: subprocess.Popen[bytes]
    log: Path

    def answered(self) -> list[Path]:
        """The files for which it heard Success, once it has ended."""
        self.process.wait(60)
        answered, file = [], Path()
        for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
            if (found := SENDING.search(line)) is not None:
                file = Path(found["file"])
            elif SUCCESS in line:
                answered.append(file)
        return answered


@dataclass
class Ordeal:
    """A receiver with one engine that is killed again and again, and started again each time."""

    node: RunningNode
    folder: Path
    chance: random.Random
    answered: dict[str, bytes] = field(default_factory=dict)
    """Digest of the data set by SOP Instance UID, of everything that was ever answered Success."""

    strikes: int = 0

    def strike(self) -> Strike:
        """Send from everywhere, kill the receiver in the middle, start it again."""
        self.strikes += 1
        parts = [self._draw(sender) for sender in range(SENDERS)]
        wanted = self._count() + self.chance.randint(1, MOST_ROWS)
        senders = [self._send(part) for part in parts]
        wait_until(lambda: self._count() >= wanted, 120, f"{wanted} rows, see {self.node.log}")
        self.node.kill_role("receiver")
        answered = [file for sender in senders for file in sender.answered()]
        self.answered |= {sent(file).sop_instance_uid: _digest(file) for file in answered}
        start(self.node)
        return Strike(answered=answered, cut_off=sum(sender.process.returncode != 0 for sender in senders))

    def problems(self) -> list[str]:
        """What is not as it has to be, now that the receiver runs again; empty is well."""
        rows = self._rows()
        paths = {path for path, _ in rows.values()}
        files = {str(file.relative_to(self.node.data_dir)) for file in files_in(self.node.data_dir / "instances")}
        found = [f"{path}: a file without a row" for path in sorted(files - paths)]
        found += [f"{path}: a row without a file" for path in sorted(paths - files)]
        found += [f"{file}: a partial file is left" for file in files_in(self.node.data_dir / "incoming")]
        found += [f"{path}: the row says {size} bytes" for path, size in rows.values()
                  if path in files and (self.node.data_dir / path).stat().st_size != size]
        received = self._received()
        for uid, digest in self.answered.items():
            found += self._lost(uid, digest, rows.get(uid, ("", 0))[0], received)
        return found

    def told(self) -> str:
        """What ``ainode check --store`` says of the store."""
        lines = self.node.ainode("check", "--store").stdout.splitlines()
        return next(line.partition("store: ")[2] for line in lines if " store: " in line)

    def _lost(self, uid: str, digest: bytes, path: str, received: set[tuple[str, str]]) -> list[str]:
        """What is missing of an instance that was answered Success."""
        if not path:
            return [f"{uid}: answered Success, and there is no row"]
        file = self.node.data_dir / path
        found = [] if file.is_file() and _digest(file) == digest else [f"{uid}: {path} is not what was sent"]
        return found if (uid, path) in received else [*found, f"{uid}: no audit event instance.received of {path}"]

    def _count(self) -> int:
        return int(self.node.rows("SELECT count(*) AS number FROM instance")[0].number)

    def _rows(self) -> dict[str, tuple[str, int]]:
        """Path and size by SOP Instance UID; nothing is sent twice here."""
        rows = self.node.rows("SELECT sop_instance_uid, path, size FROM instance")
        found = {row.sop_instance_uid: (row.path, row.size) for row in rows}
        assert len(found) == len(rows), "an instance that was sent once has two rows"
        return found

    def _received(self) -> set[tuple[str, str]]:
        """SOP Instance UID and path of every audit event that says an instance was received."""
        events = self.node.rows("SELECT sop_instance_uid, detail FROM audit_event WHERE action = 'instance.received'")
        return {(event.sop_instance_uid, json.loads(event.detail)["path"]) for event in events}

    def _draw(self, sender: int) -> list[Path]:
        folder = self.folder / f"strike-{self.strikes}" / f"sender-{sender}"
        folder.mkdir(parents=True)
        return [self._write(folder / f"{number}.dcm", f"1.2.3.{self.strikes}.{sender + 1}.{number}", number)
                for number in range(1, FILES_PER_SENDER + 1)]

    def _write(self, path: Path, uid: str, number: int) -> Path:
        image = made(uid, study=f"1.2.3.{self.strikes}")
        before, _, _ = image.data.partition(PIXEL_DATA)
        size = LARGE if number % 8 == 0 else SMALL
        pixels = PIXEL_DATA + struct.pack("<2sHI", b"OW", 0, size) + self.chance.randbytes(size)
        path.write_bytes(file_meta(image.request()) + before + pixels)
        return path

    def _send(self, files: Sequence[Path]) -> Sender:
        log = files[0].parent / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "storescu", "-v", "-aec", AE_TITLE, "127.0.0.1",
                 str(self.node.port), *map(str, files)],
                stdout=output, stderr=output, env={**os.environ, "TCP_NODELAY": "1"})
        return Sender(process=process, log=log)


@contextmanager
def ordeal(folder: Path, engine: str, *, seed: int) -> Iterator[Ordeal]:
    """A receiver with ``engine`` that runs, and what is needed to kill it."""
    receive = {"engine": engine, "min_free_disk_mb": 100}
    with RunningNode(folder / "node", receive=receive) as node:
        start(node)
        yield Ordeal(node=node, folder=folder, chance=random.Random(seed))


def start(node: RunningNode) -> None:
    node.start_role("receiver")
    node.wait_for_role("receiver")


def _digest(file: Path) -> bytes:
    """Of the data set alone: the File Meta Information is the receiver's own."""
    return hashlib.sha256(stored_data_set(file)).digest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--engine", choices=ENGINES, default="standard")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ainode-kill-") as name, ordeal(
        Path(name), arguments.engine, seed=arguments.seed
    ) as tried:
        for number in range(arguments.kills):
            strike = tried.strike()
            problems = tried.problems()
            print(f"kill {number + 1}: {strike.cut_off} of {SENDERS} senders cut off, "
                  f"{len(strike.answered)} instances answered Success, {len(problems)} problems", flush=True)
            if problems:
                print(*problems, f"see {tried.node.log}", sep="\n")
                return 1
        audited, told = tried.node.ainode("audit", "verify"), tried.told()
        print(f"{arguments.engine}: {arguments.kills} kills, {len(tried.answered)} instances answered Success, "
              f"all there; audit: {audited.stdout.strip()}; check --store: {told}")
        return audited.returncode or int(CLEAN not in told)


if __name__ == "__main__":
    sys.exit(main())

"""Send every file below a folder to a node and tell what became of each.

    python scripts/corpus.py DATA [--port 11112 --web http://127.0.0.1:8042] [--expected TABLE] [--write TABLE]

Without ``--port`` a node of its own with the demo models runs as long as it takes. Bytes go as they are in the file,
on an association per file that proposes the file's own SOP class and transfer syntax; nothing is decoded here.
With ``--expected`` the outcomes are compared with a table that ``--write`` made, and what differs is said.
"""

from __future__ import annotations

import argparse
import json
import shutil
import struct
import sys
import tempfile
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.errors import InvalidDicomError
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.demo.local_node import prepare
from node.domain import JSON
from node.header import scan
from scripts.corpus_table import Line, differences, read, write
from tests.tools.raw_sender import ASSOCIATE_AC, ASSOCIATE_RJ, RawSender
from tests.tools.receiver import Sent

UNREADABLE = (OSError, EOFError, InvalidDicomError, AttributeError, RecursionError, ValueError, KeyError,
              NotImplementedError, struct.error)
"""What pydicom raises for bytes that are not DICOM, or not any more."""

LONGEST_UID = 0xFFFF
"""An item of an A-ASSOCIATE-RQ has a length of two bytes."""

PIECES = (16_000,)
SUCCESS = "0x0000"
WAIT_SECONDS = 300.0
LOOK_SECONDS = 3.0
"""Longer than a study of the temporary node is quiet before it is complete."""

UNFINISHED = ("receiving", "provisional")


class Unsendable(Exception):
    """Why a file cannot go over DICOM."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the node answered for one file, or why it was not asked. UIDs are those of the data set."""

    path: Path
    answer: str
    why: str = ""
    study: str = ""
    instance: str = ""


def instance_of(path: Path) -> Sent:
    """The data set of a file as it is, with its class, UID and transfer syntax. Raises Unsendable."""
    try:
        found = _part10(path) or _headerless(path)
    except UNREADABLE as error:
        raise Unsendable(f"not DICOM ({type(error).__name__})") from error
    if not found.sop_class_uid:
        raise Unsendable("no SOP Class UID to propose")
    if max(len(found.sop_class_uid), len(found.sop_instance_uid), len(found.transfer_syntax_uid)) > LONGEST_UID:
        raise Unsendable("a UID is longer than a message may hold")
    return found


def _part10(path: Path) -> Sent | None:
    """None without File Meta Information. Where that names no transfer syntax, it is one of the two usual ones."""
    with path.open("rb") as file:
        read_preamble(file, force=True)
        meta = _read_file_meta_info(file)
        data = file.read()
    if not meta:
        return None
    syntax = str(meta.get("TransferSyntaxUID", "")) or _guessed(data)
    head = scan(data, syntax, last=True)
    return Sent(str(meta.get("MediaStorageSOPClassUID", "")) or head.sop_class_uid,
                str(meta.get("MediaStorageSOPInstanceUID", "")) or head.sop_instance_uid, syntax, data)


def _headerless(path: Path) -> Sent:
    """A data set alone."""
    data = path.read_bytes()
    head = scan(data, _guessed(data), last=True)
    if not head.sop_instance_uid:
        raise Unsendable("not DICOM: neither File Meta Information nor a SOP Instance UID")
    return Sent(head.sop_class_uid, head.sop_instance_uid, _guessed(data), data)


def _guessed(data: bytes) -> str:
    """Explicit VR Little Endian where the first element has a VR, else Implicit."""
    return str(ExplicitVRLittleEndian if data[4:6].isalpha() and data[4:6].isupper() else ImplicitVRLittleEndian)


def send(path: Path, port: int) -> Outcome:
    """C-STORE one file."""
    try:
        instance = instance_of(path)
    except Unsendable as reason:
        return Outcome(path=path, answer="not sent", why=str(reason))
    head = scan(instance.data, instance.transfer_syntax_uid, last=True)
    answer, why = _answered(instance, port)
    return Outcome(path=path, answer=answer, why=why, study=head.study_instance_uid, instance=head.sop_instance_uid)


def _answered(instance: Sent, port: int) -> tuple[str, str]:
    context = (instance.sop_class_uid, (instance.transfer_syntax_uid,))
    try:
        with RawSender(port, context) as sender:
            if sender.answered is None or sender.answered[0] != ASSOCIATE_AC:
                return "no association", _refusal(sender.answered)
            if not sender.accepted:
                return "no context", f"{context[0][:64]} in {instance.transfer_syntax_uid[:64]}"
            sender.begin(instance, sizes=PIECES)
            answer = sender.answer()
    except OSError as error:
        return "no answer", f"the connection was lost: {error}"
    return ("no answer", "the association ended") if answer is None else (f"0x{answer.status:04X}", "")


def _refusal(answered: tuple[int, bytes] | None) -> str:
    if answered is None:
        return "the connection was closed"
    kind, content = answered
    return f"rejected with {content[1:4].hex()}" if kind == ASSOCIATE_RJ else f"answered with PDU type {kind}"


class Worklist:
    """What a node says about studies, over its API."""

    def __init__(self, web: str) -> None:
        self._web = web

    def entries(self) -> dict[str, JSON]:
        """By Study Instance UID."""
        return {entry["study_instance_uid"]: entry for entry in self._get("/api/worklist")["entries"]}

    def instances(self, study: str) -> list[JSON]:
        return list(self._get(f"/api/studies/{study}")["instances"])

    def finished(self, studies: Collection[str]) -> dict[str, JSON]:
        """The entries once nothing more happens to these studies, or when time is up."""
        deadline, before = time.monotonic() + WAIT_SECONDS, None
        while True:
            entries = self.entries()
            now = {study: _progress(entries[study]) for study in studies if study in entries}
            done = len(now) == len(studies) and not any(_goes_on(entries[study]) for study in studies)
            if (done and now == before) or time.monotonic() > deadline:
                return entries
            before = now
            time.sleep(LOOK_SECONDS)

    def _get(self, path: str) -> JSON:
        with urllib.request.urlopen(f"{self._web}{path}", timeout=30) as answer:
            return dict(json.load(answer))


def _progress(entry: JSON) -> list[Any]:
    return [entry[key] for key in ("state", "reason", "findings_state", "report_state")]


def _goes_on(entry: JSON) -> bool:
    pending = "pending" in (entry["findings_state"], entry["report_state"])
    return entry["state"] in UNFINISHED or (entry["state"] == "confirmed" and pending)


def lines_of(outcomes: Sequence[Outcome], folder: Path, worklist: Worklist) -> list[Line]:
    """What became of each file, once nothing more happens to any."""
    stored = [outcome for outcome in outcomes if outcome.answer == SUCCESS]
    entries = worklist.finished({outcome.study for outcome in stored})
    rows = _rows(worklist, {outcome.study for outcome in stored} & entries.keys())
    lines = []
    for outcome in outcomes:
        entry = entries.get(outcome.study, {}) if outcome.answer == SUCCESS else {}
        row = rows[outcome.instance].pop(0) if outcome.answer == SUCCESS and rows[outcome.instance] else {}
        said = " ".join(part for part in (outcome.answer, row.get("state", ""), entry.get("state", "")) if part)
        why = "; ".join(part for part in (outcome.why, row.get("reason", ""), entry.get("reason", "")) if part)
        lines.append(Line(file=outcome.path.relative_to(folder).as_posix(), outcome=said, why=why))
    return lines


def tell(lines: Sequence[Line]) -> None:
    """A line per file, and how often each outcome was."""
    for line in lines:
        print(f"{line.outcome:34} {line.file}{'  ' if line.why else ''}{line.why}")
    print(f"\n{len(lines)} files: answer, what became of the instance, what became of its study")
    counted = Counter(line.outcome for line in lines)
    print(*(f"{number:6} {said}" for said, number in counted.most_common()), sep="\n")


def compare(lines: Sequence[Line], expected: Sequence[Line]) -> bool:
    """Whether every file became what was expected; what did not is said."""
    differ = differences(lines, expected)
    print(f"\n{len(differ)} files differ from the expected table" if differ else "\nas the expected table says",
          *differ, sep="\n  ")
    return not differ


def _rows(worklist: Worklist, studies: Iterable[str]) -> dict[str, list[JSON]]:
    """What the node holds, by SOP Instance UID and in the order it came."""
    found: defaultdict[str, list[JSON]] = defaultdict(list)
    for study in studies:
        for row in worklist.instances(study):
            found[row["sop_instance_uid"]].append(row)
    return found


@contextmanager
def target(port: int, web: str) -> Iterator[tuple[int, str]]:
    """DICOM port and API of the node that was named, else of one that runs while the block lasts."""
    if port:
        yield port, web
        return
    folder = Path(tempfile.mkdtemp(prefix="ainode-corpus-"))
    try:
        node = prepare(folder, None, {"study": {"quiet_seconds": 1.0}, "receive": {"min_free_disk_mb": 100}}, [])
        with node.running():
            yield node.port, node.web
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--port", type=int, default=0, help="of a node on this machine; without it one is started")
    parser.add_argument("--web", default="http://127.0.0.1:8042", help="its pages")
    parser.add_argument("--expected", type=Path, help="table of the outcomes that are expected")
    parser.add_argument("--write", type=Path, help="write the outcomes as such a table")
    arguments = parser.parse_args()
    expected = read(arguments.expected) if arguments.expected else None
    files = sorted(path for path in arguments.data.rglob("*") if path.is_file())
    if not files:
        parser.error(f"{arguments.data}: no file is there; name a folder with DICOM files")
    with target(arguments.port, arguments.web) as (port, web):
        outcomes = [send(path, port) for path in files]
        lines = lines_of(outcomes, arguments.data, Worklist(web))
    tell(lines)
    if arguments.write:
        write(arguments.write, lines)
    as_expected = expected is None or compare(lines, expected)
    return 0 if as_expected and all(outcome.answer != "no answer" for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())

"""What a receiver costs besides its speed: memory, setting up an association, and keeping one open."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.receiving.comparing import require_same
from benchmarks.receiving.figures import median
from benchmarks.receiving.processes import pss_bytes, running_seconds, watched
from benchmarks.receiving.receivers import NotReceived, Receiver, Running, running
from benchmarks.receiving.sending import send
from benchmarks.receiving.tables import number, table, verdict
from benchmarks.receiving.workloads import Workload
from tests.tools.raw_sender import ASSOCIATE_AC, CT_CONTEXT, RawSender, associate_request

LOADED_ASSOCIATIONS = 8
SET_UPS = 50
IDLE_ASSOCIATIONS = 10
IDLE_SECONDS = 10.0
ANSWER_SECONDS = 5.0
RETRY_SECONDS = 0.1
MOST_ROUNDS = 3

HEAD = ("", "PSS at rest, MB", "growth, MB", "set-up, ms", "idle association, % of a core")
AT_MOST = (100.0, 20.0, 10.0, 0.1)
"""Asked of ours, in the order of the columns."""


@dataclass(frozen=True, kw_only=True)
class Resting:
    """Figures of one receiver in one round; None where it does not take so many associations at once."""

    receiver: str
    pss_mb: float
    growth_mb: float
    set_up_ms: float
    idle_percent: float | None


def measure(
    receivers: Sequence[Receiver], workload: Workload, rounds: int, work: Path, tell: Callable[[str], None],
) -> Iterator[Resting]:
    """Every receiver in turn. One that fails is told about and left out of the round."""
    for turn in range(min(rounds, MOST_ROUNDS)):
        for receiver in receivers:
            try:
                with running(receiver, work / "resting", nodelay=True) as started:
                    figures = _figures(started, workload)
            except NotReceived as problem:
                tell(f"round {turn + 1}  {receiver.name:16}  not used: {problem}")
            else:
                tell(f"round {turn + 1}  {receiver.name:16}  {figures}")
                yield figures
            finally:
                shutil.rmtree(work / "resting", ignore_errors=True)


def shown(figures: Sequence[Resting], receivers: Sequence[Receiver]) -> str:
    """Medians as Markdown."""
    return table(HEAD, ([receiver.name, *_columns(receiver, figures)] for receiver in receivers))


def _columns(receiver: Receiver, figures: Sequence[Resting]) -> Iterator[str]:
    own = [one for one in figures if one.receiver == receiver.name]
    medians = (median(one.pss_mb for one in own), median(one.growth_mb for one in own),
               median(one.set_up_ms for one in own),
               median(one.idle_percent for one in own if one.idle_percent is not None))
    for value, bound in zip(medians, AT_MOST, strict=True):
        if value is None:
            yield "not measured"
        else:
            yield verdict(value, value <= bound, f"<= {bound:g}") if receiver.ours else number(value)


def _figures(started: Running, workload: Workload) -> Resting:
    at_rest = pss_bytes(started.pid)
    with watched(started.pid) as peak:
        send(started.port, workload.split(LOADED_ASSOCIATIONS), nodelay=True)
    require_same(started, workload.files)
    return Resting(
        receiver=started.receiver.name, pss_mb=at_rest / 1e6,
        growth_mb=max(0.0, (peak.pss_bytes - at_rest) / 1e6),
        set_up_ms=_set_up_ms(started.port), idle_percent=_idle_percent(started))


def _set_up_ms(port: int) -> float:
    """Milliseconds from A-ASSOCIATE-RQ to A-ASSOCIATE-AC, the median of some in a row; connecting does not count."""
    taken = []
    for _ in range(SET_UPS):
        sender, milliseconds = _opened(port)
        sender.release()
        sender.close()
        taken.append(milliseconds)
    return median(taken) or 0.0


def _idle_percent(started: Running) -> float | None:
    """Percent of one core for each of some open associations, less what the receiver takes without any."""
    alone = _busy(started.pid)
    with ExitStack() as stack:
        for _ in range(IDLE_ASSOCIATIONS):
            try:
                stack.enter_context(_opened(started.port)[0])
            except (TimeoutError, NotReceived):  # it does not take so many
                return None
        return max(0.0, _busy(started.pid) - alone) / IDLE_ASSOCIATIONS * 100


def _opened(port: int) -> tuple[RawSender, float]:
    """An association, and how many milliseconds the answer took. Who has too many for now is asked again.

    Raises:
        TimeoutError: no answer.
        NotReceived: only refusals.
    """
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        sender = RawSender(port, CT_CONTEXT, associate=False)
        sender.socket.settimeout(ANSWER_SECONDS)
        try:
            began = time.perf_counter()
            sender.send(associate_request([CT_CONTEXT]))
            answered = sender.read_pdu()
            milliseconds = (time.perf_counter() - began) * 1000
        except TimeoutError:
            sender.close()
            raise
        if answered is not None and answered[0] == ASSOCIATE_AC:
            return sender, milliseconds
        sender.close()
        if time.monotonic() > deadline:
            raise NotReceived(f"an association request was answered with {answered!r}")
        time.sleep(RETRY_SECONDS)


def _busy(pid: int) -> float:
    """Share of one core over some seconds."""
    before = running_seconds(pid)
    time.sleep(IDLE_SECONDS)
    return (running_seconds(pid) - before) / IDLE_SECONDS

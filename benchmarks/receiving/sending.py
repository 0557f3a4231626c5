"""DCMTK's storescu as sender: one process per association, all started at once."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.receiving.receivers import HOST, NotReceived, environment

SEND_SECONDS = 600.0


def send(port: int, parts: Sequence[Sequence[Path]], *, nodelay: bool) -> float:
    """Send each part on an association of its own; seconds from the first start to the last end.

    Raises:
        NotReceived: a sender failed or hung.
    """
    began = time.perf_counter()
    senders = [
        subprocess.Popen(["storescu", HOST, str(port), *map(str, part)], env=environment(nodelay),
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for part in parts if part]
    try:
        problems = [said for said in (_end(sender) for sender in senders) if said]
    finally:
        for sender in senders:
            if sender.poll() is None:
                sender.kill()
                sender.wait()
    if problems:
        raise NotReceived(f"{len(problems)} of {len(senders)} storescu failed: {problems[0]}")
    return time.perf_counter() - began


def _end(sender: subprocess.Popen[bytes]) -> str:
    """Empty when it ended well."""
    try:
        _, errors = sender.communicate(timeout=SEND_SECONDS)
    except subprocess.TimeoutExpired:
        return f"no end within {SEND_SECONDS:g} s"
    if sender.returncode == 0:
        return ""
    return f"status {sender.returncode}: {errors.decode(errors='replace').strip()[-300:]}"

"""The process that starts the four roles, restarts one that died, and stops them all within 20 s."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from node.roles import Role

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 18.0
BACKOFF_SECONDS = (0.2, 1.0, 5.0, 15.0)


def visible_gpus() -> list[int]:
    """NVIDIA GPUs of this machine, as its driver lists them; CUDA_VISIBLE_DEVICES of the operator stands."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return []
    return list(range(len(list(Path("/proc/driver/nvidia/gpus").glob("*")))))


def die_with_parent() -> None:
    """Ask Linux for SIGTERM when the parent ends, so that no role lives on alone."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class Child:
    """One role process and how often it died lately."""

    role: Role
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    deaths: int = 0
    due_at: float = 0.0
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Supervisor:
    """Runs ``ainode run --role X`` for every role and keeps them running."""

    command: Sequence[str]
    roles: Sequence[Role]
    incarnation: str
    #: Each worker gets one of them; without any there is one worker, on the CPU.
    gpus: Sequence[int] = ()
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> int:
        """Until stopped; 0 when all roles ended well, 1 when one had to be killed."""
        children = [Child(role) for role in self.roles]
        workers = [child for child in children if child.role is Role.WORKER]
        for worker, gpu in zip(workers, self.gpus, strict=False):
            worker.environment = {"CUDA_VISIBLE_DEVICES": str(gpu)}
        while not self.stopping.wait(0.1):
            for child in children:
                self._tend(child)
        return self._stop(children)

    def _tend(self, child: Child) -> None:
        now = time.monotonic()
        if child.process is not None and child.process.poll() is not None:
            log.error("role %s ended with %s; it is started again", child.role.value, child.process.returncode,
                      extra={"action": "role.died", "role": child.role.value})
            child.deaths = child.deaths + 1 if now - child.started_at < 60 else 1
            child.due_at = now + BACKOFF_SECONDS[min(child.deaths, len(BACKOFF_SECONDS)) - 1]
            child.process = None
        if child.process is None and now >= child.due_at:
            child.process = self._start(child)
            child.started_at = now

    def _start(self, child: Child) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "node", *self.command, "--role", child.role.value,
             "--incarnation", self.incarnation, "--parent", str(os.getpid())],
            env={**os.environ, **child.environment},
        )

    def _stop(self, children: Sequence[Child]) -> int:
        """SIGTERM to all at once; what does not end in time is killed."""
        living = [child.process for child in children if child.process is not None and child.process.poll() is None]
        for process in living:
            process.send_signal(signal.SIGTERM)
        deadline, killed = time.monotonic() + STOP_SECONDS, False
        for process in living:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                killed = True
        return 1 if killed else 0

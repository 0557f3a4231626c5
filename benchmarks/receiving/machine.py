"""Where it was measured, and a network of its own to measure in."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.receiving.receivers import Receiver

MARK = "--in-namespace"


def described(receivers: Sequence[Receiver], work: Path) -> str:
    """Processor, memory, kernel, file system and versions, as a Markdown list."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    versions = ", ".join(f"{one.name} {one.version}" for one in receivers)
    return "\n".join((
        f"- machine: {_processor()}, {os.cpu_count()} cores, {memory:.0f} GB, Linux {platform.release()}, "
        f"{_file_system(work)}",
        f"- Python {platform.python_version()}; {versions}",
        f"- load before: {load()}",
    ))


def load() -> str:
    """Of the last 1, 5 and 15 minutes."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(folder: Path) -> str:
    done = subprocess.run(["stat", "--file-system", "--format=%T", str(folder)], capture_output=True, text=True,
                          check=False)
    return done.stdout.strip() or "unknown file system"


def enter_own_network(program: Path, arguments: Sequence[str]) -> None:
    """Start this program again where there is only a loopback interface, because Orthanc binds every one.

    Returns in the program that was started so, and where no such network can be made: then after a line.
    """
    if MARK in arguments:
        return
    enter = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    possible = subprocess.run([*enter, "ip", "link", "set", "lo", "up"], capture_output=True, check=False)
    if possible.returncode != 0:
        print(f"no network of its own ({possible.stderr.decode().strip()}): Orthanc would bind every interface",
              file=sys.stderr)
        return
    script = 'ip link set lo up && exec "$@"'
    os.execvp(enter[0], [*enter, "sh", "-c", script, "sh", sys.executable, str(program), *arguments, MARK])

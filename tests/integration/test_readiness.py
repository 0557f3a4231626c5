"""``/readyz`` of a web process counts those it was started with, or, started alone, whoever is there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import sqlalchemy as sa
import yaml

from node.database import connect
from node.roles import Heartbeat, Role, take_slot
from tests.tools.network import accepts, free_port, stop
from tests.tools.waiting import wait_until

ROOT = Path(__file__).parents[2]


@contextmanager
def web(folder: Path, url: str, *arguments: str) -> Iterator[int]:
    """The web role as a process; its port, once it answers."""
    port, config = free_port(), folder / "config.yaml"
    config.write_text(yaml.safe_dump({
        "node": {"data_dir": str(folder / "data")}, "database": {"url": url}, "web": {"port": port}}))
    command = [sys.executable, "-m", "node", "run", "--role", "web", "--config", str(config), *arguments]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        wait_until(lambda: accepts(port), 60)
        yield port
    finally:
        stop(process)


def status(port: int) -> int:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code
    except URLError:
        return 0


def beat(engine: sa.Engine, folder: Path, incarnation: str) -> None:
    """The others say that they are ready, as processes of ``incarnation``."""
    for role in (Role.RECEIVER, Role.CLERK, Role.WORKER):
        Heartbeat(engine, take_slot(folder, role), role, incarnation).ready()


def test_a_web_process_started_alone_counts_processes_of_other_starts(tmp_path: Path, sqlite_url: str) -> None:
    with web(tmp_path, sqlite_url) as port:
        assert status(port) == 503
        engine = connect(sqlite_url)
        beat(engine, tmp_path, "another")
        assert status(port) == 200
        engine.dispose()


def test_a_web_process_of_a_supervisor_counts_only_its_own(tmp_path: Path, sqlite_url: str) -> None:
    with web(tmp_path, sqlite_url, "--incarnation", "this") as port:
        engine = connect(sqlite_url)
        beat(engine, tmp_path, "another")
        assert status(port) == 503
        beat(engine, tmp_path, "this")
        assert status(port) == 200
        engine.dispose()

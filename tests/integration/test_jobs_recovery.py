"""Jobs outlive their process: killed in the middle, they are finished by the next one, and take effect once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from node.database import audit_event
from tests.tools.databases import KINDS, migrated, migrated_kind
from tests.tools.postgres import Cluster
from tests.tools.waiting import wait_until

ROOT = Path(__file__).parents[2]


class Process:
    """One run of :mod:`tests.tools.job_process`."""

    def __init__(self, engine: sa.Engine, executor: str, gate: Path, *more: str) -> None:
        url = engine.url.render_as_string(hide_password=False)
        command = [sys.executable, "-m", "tests.tools.job_process", url, executor, str(gate), *more]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def says(self, beginning: str) -> str:
        """The next line that begins so."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(beginning):
                return line.removeprefix(beginning).strip()
        raise AssertionError(f"the process ended with {self._process.wait()} before it said {beginning!r}")

    def kill(self) -> None:
        self._process.kill()
        self.ended()

    def ended(self) -> int:
        with self._process:
            return self._process.wait(60)


@pytest.fixture(params=KINDS)
def migrated_engine(request: pytest.FixtureRequest, cluster: Cluster, tmp_path: Path) -> Iterator[sa.Engine]:
    with migrated_kind(request.param, cluster, tmp_path) as engine:
        yield engine


def recorded(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(sa.select(audit_event.c.action).order_by(audit_event.c.seq)))


def killed_at_work(engine: sa.Engine, folder: Path) -> Path:
    """The open gate of a process that was killed inside its job."""
    gate = folder / "gate"
    first = Process(engine, "worker.0", gate, "--put", "first", "a")
    first.says("begun")
    first.kill()
    gate.touch()
    return gate


def test_a_job_whose_process_was_killed_is_finished_by_the_next_one_of_that_name(
    migrated_engine: sa.Engine, tmp_path: Path
) -> None:
    gate = killed_at_work(migrated_engine, tmp_path)
    second = Process(migrated_engine, "worker.0", gate)
    wait_until(lambda: "second" in recorded(migrated_engine), 60)
    second.kill()
    assert recorded(migrated_engine) == ["first", "second"]


def test_a_job_of_a_dead_process_is_recovered_by_another_also_by_newer_code(
    migrated_engine: sa.Engine, tmp_path: Path
) -> None:
    gate = killed_at_work(migrated_engine, tmp_path)
    second = Process(migrated_engine, "worker.1", gate, "--recover", "worker.0", "--newer-code")
    assert second.says("recovered") == "1"
    wait_until(lambda: "second" in recorded(migrated_engine), 60)
    second.kill()
    assert recorded(migrated_engine) == ["first", "second"]
    with migrated_engine.connect() as connection:
        detail = connection.scalars(sa.select(audit_event.c.detail).where(audit_event.c.action == "first")).one()
    assert json.loads(detail) == {"code": "new", "key": "a"}


def test_a_job_that_ends_its_process_again_and_again_is_parked_and_listed(sqlite_url: str, tmp_path: Path) -> None:
    with migrated(sqlite_url, tmp_path) as engine:
        for put in (["--put", "poison", "bad"], []):
            assert Process(engine, "worker.0", tmp_path, "--deaths", "1", *put).ended() == 9
        third = Process(engine, "worker.0", tmp_path, "--deaths", "1", "--until-dead")
        assert third.says("dead") == "['bad']"
        third.ended()
        assert recorded(engine) == []


def test_a_job_whose_device_is_lost_ends_its_process_and_is_finished_by_the_next(
    migrated_engine: sa.Engine, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    assert Process(migrated_engine, "worker.0", gate, "--put", "device", "a", "--until-lost").ended() == 1
    assert recorded(migrated_engine) == []
    gate.touch()
    second = Process(migrated_engine, "worker.0", gate)
    wait_until(lambda: "device" in recorded(migrated_engine), 60)
    second.kill()
    assert recorded(migrated_engine) == ["device"]

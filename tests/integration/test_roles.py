"""Role processes: a name of their own, a sign of life, what they load, and who starts and stops them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from node.app import open_database
from node.config import Config
from node.database import connect, node_state, role_status, transaction
from node.roles import DEAD_AFTER_SECONDS, Heartbeat, Role, take_slot
from tests.tools.roles import lives, ready_pids
from tests.tools.waiting import wait_until

ROOT = Path(__file__).parents[2]
NOT_LOADED = {
    "receiver": {"dbos", "torch", "transformers", "highdicom", "fastapi"},
    "clerk": {"torch", "transformers", "fastapi"},
    "web": {"torch", "transformers", "dbos", "highdicom"},
}
"""What would cost a role memory and time, or could take it down."""
SUPERVISOR = """
import signal, sys
from node.roles import Role
from node.supervisor import Supervisor
supervisor = Supervisor(command=["run", "--config", sys.argv[1]], roles=[Role.RECEIVER, Role.WEB], incarnation="i")
signal.signal(signal.SIGTERM, lambda *_: supervisor.stopping.set())
sys.exit(supervisor.run())
"""


def test_a_slot_is_free_again_when_its_process_is_gone(tmp_path: Path) -> None:
    first, second = take_slot(tmp_path, Role.WORKER), take_slot(tmp_path, Role.WORKER)
    assert first.name != second.name
    first.lock.close()
    assert take_slot(tmp_path, Role.WORKER).name == first.name
    second.lock.close()


def test_roles_do_not_share_slots(tmp_path: Path) -> None:
    names = {take_slot(tmp_path, role).name for role in Role}
    assert len(names) == len(Role)


@dataclass
class FakeJobs:
    """A job engine in which these processes have started jobs."""

    owners: set[str]
    recovered: list[str] = field(default_factory=list)

    def pending_owners(self) -> set[str]:
        return self.owners - set(self.recovered)

    def recover(self, executor_id: str) -> int:
        self.recovered.append(executor_id)
        return 1


def rows(engine: sa.Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        return {row.slot: row for row in connection.execute(sa.select(role_status))}


def test_a_role_shows_that_it_lives_is_ready_and_leaves(engine: sa.Engine, tmp_path: Path) -> None:
    slot = take_slot(tmp_path, Role.WEB)
    heartbeat = Heartbeat(engine, slot, Role.WEB, "incarnation-1")
    heartbeat.beat()
    row = rows(engine)[slot.name]
    assert (row.role, row.incarnation, row.pid, row.ready) == ("web", "incarnation-1", os.getpid(), False)
    heartbeat.ready({"port": 1})
    assert (rows(engine)[slot.name].ready, rows(engine)[slot.name].detail) == (True, {"port": 1})
    heartbeat.stop()
    assert not rows(engine)[slot.name].ready


def test_a_slot_that_is_taken_again_has_one_row(engine: sa.Engine, tmp_path: Path) -> None:
    slot = take_slot(tmp_path, Role.WEB)
    for incarnation in ("one", "two"):
        Heartbeat(engine, slot, Role.WEB, incarnation).beat()
    assert [row.incarnation for row in rows(engine).values()] == ["two"]


def test_jobs_of_a_silent_process_are_recovered_once_and_not_those_of_a_living_one(
    engine: sa.Engine, tmp_path: Path
) -> None:
    living, dead, mine = (take_slot(tmp_path, Role.WORKER) for _ in range(3))
    for slot in (living, dead):
        Heartbeat(engine, slot, Role.WORKER, "i").beat()
    with transaction(engine) as connection:
        connection.execute(sa.update(role_status).where(role_status.c.slot == dead.name).values(
            beat_at=role_status.c.beat_at - DEAD_AFTER_SECONDS - 1))
    jobs = FakeJobs({living.name, dead.name, mine.name})
    heartbeat = Heartbeat(engine, mine, Role.CLERK, "i", jobs)
    heartbeat._judge(heartbeat.beat())
    assert jobs.recovered == []  # it has not been healthy itself for long enough to judge
    for _ in range(40):
        heartbeat._judge(heartbeat.beat())
    assert jobs.recovered == [dead.name]


@pytest.fixture
def config(database_url: str, tmp_path: Path) -> Path:
    return written(tmp_path, database_url)


def written(folder: Path, url: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({
        "node": {"port": 0, "data_dir": str(folder / "data")}, "database": {"url": url}, "web": {"port": 0},
        "receive": {"min_free_disk_mb": 0}}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def empty_node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all tables and nothing in them."""
    path = tmp_path_factory.mktemp("roles") / "node.sqlite"
    open_database(Config(node={"data_dir": path.parent}, database={"url": f"sqlite:///{path}"})).dispose()
    return path


@pytest.fixture
def migrated_url(empty_node: Path, tmp_path: Path) -> str:
    """A copy of it."""
    return f"sqlite:///{shutil.copy(empty_node, tmp_path)}"


@contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process in its own group, of which nothing is left afterwards."""
    started = subprocess.Popen([sys.executable, *command], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield started
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.communicate()


@pytest.mark.parametrize("role", sorted(NOT_LOADED))
def test_a_role_loads_only_what_it_needs(role: str, migrated_url: str, tmp_path: Path) -> None:
    config = written(tmp_path, migrated_url)
    command = ("-m", "tests.tools.probe_role", migrated_url, "run", "--role", role, "--config", str(config))
    with process(*command) as started:
        assert started.stdout is not None
        loaded = set(started.stdout.read().split())
        assert started.wait(60) == 0
    assert "node" in loaded
    assert loaded & NOT_LOADED[role] == set()


def test_roles_started_together_on_an_empty_database_make_its_tables_once(config: Path, database_url: str) -> None:
    commands = [("-m", "node", "run", "--role", role, "--config", str(config)) for role in ("receiver", "web")]
    with process(*commands[0]), process(*commands[1]):
        wait_until(lambda: sorted(ready_pids(database_url).values()) == ["receiver", "web"], 90)
    engine = connect(database_url)
    with engine.connect() as connection:
        keys = list(connection.scalars(sa.select(node_state.c.key).order_by(node_state.c.key)))
    engine.dispose()
    assert keys == ["jobs_schema", "node_uid"]


@contextmanager
def supervised(folder: Path, url: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, int]]]:
    """A supervisor of receiver and web, both ready; process id by role."""
    with process("-c", SUPERVISOR, str(written(folder, url))) as started:
        wait_until(lambda: len(ready_pids(url)) == 2, 90)
        yield started, {role: pid for pid, role in ready_pids(url).items()}


def test_a_role_that_died_is_started_again_and_all_stop_together(migrated_url: str, tmp_path: Path) -> None:
    with supervised(tmp_path, migrated_url) as (supervisor, pids):
        os.kill(pids["receiver"], signal.SIGKILL)
        wait_until(lambda: not lives(pids["receiver"]))
        wait_until(lambda: len(ready_pids(migrated_url)) == 2, 60)
        again = {role: pid for pid, role in ready_pids(migrated_url).items()}
        assert again["web"] == pids["web"]
        supervisor.terminate()
        assert supervisor.wait(25) == 0
        assert not any(lives(pid) for pid in again.values())
    assert all(not row.ready for row in rows(connect(migrated_url)).values())


def test_no_role_outlives_a_killed_supervisor(migrated_url: str, tmp_path: Path) -> None:
    with supervised(tmp_path, migrated_url) as (supervisor, pids):
        supervisor.kill()
        wait_until(lambda: not any(lives(pid) for pid in pids.values()), 25)

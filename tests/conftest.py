"""Fixtures of every test level: real databases, and a network of their own for real peers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from node.database import connect, metadata
from tests.tools.network import Namespace
from tests.tools.postgres import Cluster
from tests.tools.receiver import ENGINES, Receiver, receiver_in


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test sees only the settings it makes itself, and one thread per model."""
    for name in [name for name in os.environ if name.startswith("AINODE__")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One PostgreSQL server for the whole run, started when the first test asks for it."""
    server = Cluster()
    yield server
    server.stop()


@pytest.fixture
def postgres_url(cluster: Cluster) -> Iterator[str]:
    """A fresh PostgreSQL database, reachable from inside a :class:`Namespace` too."""
    with cluster.database() as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'node.sqlite'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh database; a test that asks for it runs on SQLite and on PostgreSQL."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    """An engine on a fresh database that has the node's tables."""
    engine = connect(database_url)
    metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A private network for Orthanc, the node under test and their peers."""
    with Namespace() as namespace:
        yield namespace


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[sa.Engine]:
    """The same on SQLite only, for what does not depend on the database."""
    engine = connect(sqlite_url)
    metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture(params=ENGINES)
def engine_name(request: pytest.FixtureRequest) -> str:
    """``receive.engine``; a test that asks for it runs on each of them."""
    name: str = request.param
    return name


@pytest.fixture(scope="module", params=ENGINES)
def started_receiver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """One receiver on each of ``ENGINES`` for all tests of a module."""
    with receiver_in(tmp_path_factory.mktemp("receiver"), receive={"engine": request.param}) as node:
        yield node


@pytest.fixture
def shared_node(started_receiver: Receiver) -> Receiver:
    """The same with nothing received yet; its audit goes on."""
    started_receiver.clear()
    return started_receiver


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder that does not exist yet."""
    return tmp_path / "data"

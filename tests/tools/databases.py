"""Migrated databases that live longer than one test, and a job engine on one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from dbos import DBOS

from node import jobs, schema
from node.database import connect
from node.jobs import Jobs, Queue, Stage
from tests.tools.postgres import Cluster

KINDS = ("sqlite", "postgresql")


@contextmanager
def migrated(url: str, folder: Path) -> Iterator[sa.Engine]:
    """An engine on ``url`` with our tables and those of the jobs, as a started node finds them."""
    engine = connect(url)
    schema.migrate(engine, folder, jobs.migrate)
    DBOS.destroy(destroy_registry=True)
    yield engine
    engine.dispose()


@contextmanager
def migrated_kind(kind: str, cluster: Cluster, folder: Path) -> Iterator[sa.Engine]:
    """The same on a fresh database of one of :data:`KINDS`."""
    if kind == "sqlite":
        with migrated(f"sqlite:///{folder / 'node.sqlite'}", folder) as engine:
            yield engine
        return
    with cluster.database() as url, migrated(url, folder) as engine:
        yield engine


@contextmanager
def started(made: Jobs, stages: Sequence[Stage], concurrency: Mapping[Queue, int]) -> Iterator[Jobs]:
    """``made``, running. The engine is one per process, so its registry is cleared for the next one."""
    for stage in stages:
        made.register(stage)
    made.start(concurrency)
    yield made
    DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=10)

"""Metrics of the work done, computed from the database at each scrape, so a restart loses none."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path

import sqlalchemy as sa
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from node.database import delivery, instance, role_status, server_now, study, transaction, worklist_entry
from node.domain import DeliveryState, EntryState, FindingsState, InstanceState, Lane, ReportState

BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""Upper bounds in seconds."""


def registry(engine: sa.Engine, data_dir: Path) -> CollectorRegistry:
    """A registry of its own per application; the library's global one is not used."""
    made = CollectorRegistry()
    made.register(NodeCollector(engine, data_dir))
    return made


def text(registry: CollectorRegistry) -> bytes:
    """The exposition format. Raises StorageError."""
    return generate_latest(registry)


class NodeCollector(Collector):
    """Reads every metric in one transaction."""

    def __init__(self, engine: sa.Engine, data_dir: Path) -> None:
        self._engine = engine
        self._data_dir = data_dir

    def describe(self) -> Iterable[Metric]:
        """Nothing in advance: registering must not need the database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families."""
        entry = worklist_entry.c
        with transaction(self._engine) as connection:
            yield _histogram(
                connection, "ainode_time_to_flag_seconds", entry.flagged_at,
                "Row commit of the decisive instance to the first commit of the entry with a priority")
            yield _histogram(
                connection, "ainode_time_to_notify_seconds", entry.notified_at,
                "Row commit of the decisive instance to the first proof outside")
            yield _by_state(connection, "ainode_studies", "Studies on the worklist", entry.state, EntryState)
            yield _by_state(
                connection, "ainode_findings_state", "Studies by findings", entry.findings_state, FindingsState)
            yield _by_state(connection, "ainode_report_state", "Studies by report", entry.report_state, ReportState)
            yield _by_state(connection, "ainode_instances", "Received instances", instance.c.state, InstanceState)
            yield _by_state(
                connection, "ainode_deliveries", "Reports by destination and proof", delivery.c.state, DeliveryState)
            yield _open_studies(connection)
            yield from _roles(connection)
        free = GaugeMetricFamily("ainode_disk_free_bytes", "Free space where instances are kept")
        free.add_metric([], shutil.disk_usage(self._data_dir).free)
        yield free


def _histogram(connection: sa.Connection, name: str, end: sa.Column[float], documentation: str) -> Metric:
    columns = worklist_entry.c
    waited = sa.case((end > columns.decisive_at, end - columns.decisive_at), else_=0.0)
    evaluable = columns.state != EntryState.NOT_EVALUABLE.value
    below = [sa.func.coalesce(sa.func.sum(sa.case((waited <= bound, 1), else_=0)), 0) for bound in BUCKETS]
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(waited), 0.0), *below)
    count, total, *counts = connection.execute(
        query.where(end.is_not(None), columns.decisive_at.is_not(None), evaluable)
    ).one()
    bounds = [(str(bound), float(value)) for bound, value in zip(BUCKETS, counts, strict=True)]
    family = HistogramMetricFamily(name, documentation)
    family.add_metric([], [*bounds, ("+Inf", float(count))], float(total))
    return family


def _by_state(
    connection: sa.Connection, name: str, documentation: str, column: sa.Column[str], states: type[Enum]
) -> Metric:
    counts: Mapping[str, int] = dict(
        connection.execute(sa.select(column, sa.func.count()).group_by(column)).tuples().all()
    )
    family = GaugeMetricFamily(name, documentation, labels=["state"])
    for state in states:  # a state nobody is in shows 0, so that an alarm can be written before the first case
        family.add_metric([state.value], counts.get(state.value, 0))
    return family


def _open_studies(connection: sa.Connection) -> Metric:
    """A flood of old studies shows here, and a study that waits for what never comes."""
    query = sa.select(study.c.lane, sa.func.count()).where(study.c.open).group_by(study.c.lane)
    counts: Mapping[str, int] = dict(connection.execute(query).tuples().all())
    family = GaugeMetricFamily("ainode_open_studies", "Studies that are not complete", labels=["lane"])
    for lane in Lane:
        family.add_metric([lane.value], counts.get(lane.value, 0))
    return family


def _roles(connection: sa.Connection) -> Iterator[Metric]:
    ready = GaugeMetricFamily("ainode_role_ready", "1 when the role process says it is ready", labels=["role", "slot"])
    age = GaugeMetricFamily("ainode_role_beat_age_seconds", "Since its last sign of life", labels=["role", "slot"])
    now = server_now(connection)
    for row in connection.execute(sa.select(role_status).order_by(role_status.c.slot)):
        ready.add_metric([row.role, row.slot], int(row.ready))
        age.add_metric([row.role, row.slot], max(0.0, now - row.beat_at))
    yield ready
    yield age

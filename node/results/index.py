"""Table ``result``: what our objects say of themselves, kept so that a query opens no file.

A row is written together with its ``report``; one that is missing, as after an upgrade, is made up for when a
query could concern it.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from node.database import insert_ignore, reading, report, result, run, study, transaction
from node.domain import Lane
from node.errors import NodeError
from node.header.reading import DataSet, stored
from node.results.levels import LEVEL_OF, Level, tag_of
from node.results.matching import dates, moment
from node.results.query import Query

log = logging.getLogger(__name__)

_Where = list[sa.ColumnElement[bool]]

BATCH = 200
MOST_UIDS = 2000
"""A longer list is matched row by row: databases limit the parameters of a statement."""
IDENTIFIERS = ("PatientID", "AccessionNumber")
"""Two of them must never look alike: undecodable ones are empty."""


@dataclass(frozen=True, kw_only=True)
class Audience:
    """What a peer may be shown: what might be delivered to it."""

    #: Results in which a demo model spoke.
    demo: bool
    #: Results of the historical lane.
    historical: bool


@dataclass(frozen=True, kw_only=True)
class Held:
    """One result object. ``path`` is relative to ``node.data_dir``; ``attributes`` are texts by keyword."""

    sop_instance_uid: str
    study_instance_uid: str
    path: str
    created_at: float
    attributes: Mapping[str, str]

    def value(self, keyword: str) -> str:
        return self.attributes.get(keyword, "")


class Index:
    """Reads table ``result``, and makes up for what it lacks."""

    def __init__(self, engine: sa.Engine, data_dir: Path) -> None:
        self._engine = engine
        self._data_dir = data_dir

    def held(self, query: Query, audience: Audience, order: tuple[str, ...]) -> Generator[Held, None, None]:
        """Objects that may meet ``query``, ordered by these columns and then the newest first.

        The restriction by SQL only leaves out what does not match; the caller looks at all of ``query``.

        Raises:
            StorageError: the database does not answer.
            QueryMismatch: a key is not one of its VR.
        """
        self._catch_up(query)
        columns = [*(result.c[name] for name in order), report.c.created_at.desc(), result.c.sop_instance_uid]
        statement = (
            sa.select(result, report.c.path, report.c.created_at)
            .join(report, report.c.sop_instance_uid == result.c.sop_instance_uid)
            .where(*_possible(query), *_shown(audience)).order_by(*columns).execution_options(yield_per=BATCH))
        with reading(self._engine) as connection:
            for row in connection.execute(statement):
                yield Held(sop_instance_uid=row.sop_instance_uid, study_instance_uid=row.study_instance_uid,
                           path=row.path, created_at=row.created_at, attributes=row.attributes)

    def _catch_up(self, query: Query) -> None:
        statement = (
            sa.select(report.c.sop_instance_uid, report.c.path)
            .outerjoin(result, result.c.sop_instance_uid == report.c.sop_instance_uid)
            .where(result.c.sop_instance_uid.is_(None), *_named(query, report)))
        with reading(self._engine) as connection:
            missing = connection.execute(statement).all()
        for begin in range(0, len(missing), BATCH):
            noted = [values for row in missing[begin : begin + BATCH] if (values := self._read(row)) is not None]
            with transaction(self._engine) as connection:
                for values in noted:
                    insert_ignore(connection, result, **values)

    def _read(self, row: sa.Row[*tuple[Any, ...]]) -> dict[str, Any] | None:
        try:
            return _values(self._data_dir / row.path)
        except NodeError as error:
            log.warning("result %s cannot be shown: %s", row.sop_instance_uid, error,
                        extra={"action": "result.unreadable", "sop_instance_uid": row.sop_instance_uid})
            return None


def book(connection: sa.Connection, path: Path) -> None:
    """Note the object at ``path``; doing it twice changes nothing. Raises StorageError or Undecodable."""
    insert_ignore(connection, result, **_values(path))


def _values(path: Path) -> dict[str, Any]:
    with stored(path) as (_, data):
        attributes = {keyword: _text(data, keyword) for keyword in LEVEL_OF}
    return {
        "sop_instance_uid": attributes["SOPInstanceUID"], "study_instance_uid": attributes["StudyInstanceUID"],
        "series_instance_uid": attributes["SeriesInstanceUID"], "patient_id": attributes["PatientID"],
        "accession_number": attributes["AccessionNumber"], "study_date": moment("DA", attributes["StudyDate"]),
        "attributes": {keyword: text for keyword, text in attributes.items() if text},
    }


def _text(data: DataSet, keyword: str) -> str:
    return data.words(tag_of(keyword), strict=keyword in IDENTIFIERS)


def _possible(query: Query) -> _Where:
    """Restrictions by the indexed columns, with keys of the query's level or above."""
    where = _named(query, result)
    for keyword, column in (("PatientID", result.c.patient_id), ("AccessionNumber", result.c.accession_number)):
        text = query.own(keyword).strip()
        if text and text.isascii() and not set(text) & set("*?\\"):
            where.append(column == text)
    if days := query.own("StudyDate"):
        where.append(result.c.study_date.between(*dates(days)))
    return where


def _named(query: Query, table: sa.Table) -> _Where:
    """Restrictions by UIDs, which ``table`` has columns for."""
    columns = {Level.STUDY: "study_instance_uid", Level.SERIES: "series_instance_uid", Level.IMAGE: "sop_instance_uid"}
    where: _Where = []
    for level, name in columns.items():
        uids = query.uids(level)
        if uids and len(uids) <= MOST_UIDS:
            where.append(table.c[name].in_(uids))
    return where


def _shown(audience: Audience) -> _Where:
    """Of runs that came to their end; nothing else is shown that would not be delivered."""
    where: _Where = [sa.exists().where(
        run.c.study_instance_uid == report.c.study_instance_uid, run.c.version == report.c.version,
        run.c.state == "done")]
    if not audience.demo:
        where.append(report.c.demo.is_(False))
    if not audience.historical:
        where.append(~sa.exists().where(
            study.c.study_instance_uid == report.c.study_instance_uid, study.c.lane == Lane.HISTORICAL.value))
    return where

"""From objects to the entities of a level that meet a query (PS3.4 C.4.1.3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby, islice

from node.results.index import Audience, Held, Index
from node.results.levels import LEVELS, UNIQUE, Level, vr_of
from node.results.matching import in_combined_range, is_universal, matches
from node.results.query import Query

COLUMNS = {
    Level.PATIENT: "patient_id", Level.STUDY: "study_instance_uid", Level.SERIES: "series_instance_uid",
    Level.IMAGE: "sop_instance_uid",
}
COMBINED = (("StudyDate", "StudyTime"), ("SeriesDate", "SeriesTime"), ("ContentDate", "ContentTime"))


@dataclass(frozen=True, kw_only=True)
class Entity:
    """A patient, study, series or instance: its objects, the newest first, which speaks for it."""

    level: Level
    objects: tuple[Held, ...]

    @property
    def newest(self) -> Held:
        return self.objects[0]

    def several(self, keyword: str) -> tuple[str, ...]:
        """The different values of its objects."""
        return tuple(sorted({one.value(keyword) for one in self.objects} - {""}))


def find(index: Index, query: Query, audience: Audience, at_most: int) -> tuple[list[Entity], bool]:
    """The entities that match, and whether these are all of them.

    Raises:
        StorageError: the database does not answer.
        QueryMismatch: a key is not one of its VR.
    """
    level = query.level
    with closing(index.held(query, audience, (COLUMNS[level],))) as held:
        rows = (one for one in held if _meets(query, one))
        named = (one for one in rows if one.value(UNIQUE[level]))  # patients without an ID are not one patient
        grouped = groupby(named, key=lambda one: one.value(UNIQUE[level]))
        entities = (Entity(level=level, objects=tuple(objects)) for _, objects in grouped)
        found = list(islice((one for one in entities if _has_its_sets(query, one)), at_most + 1))
    return found[:at_most], len(found) <= at_most


def select(index: Index, query: Query, audience: Audience) -> list[Held]:
    """The objects that a retrieve request names by its unique keys, in the order they were written. Raises as find."""
    named = {UNIQUE[level]: query.names(level) for level in LEVELS if UNIQUE[level] in query.keys}
    rows = index.held(query, audience, ("study_instance_uid", "series_instance_uid"))
    found = [one for one in rows if all(one.value(keyword) in names for keyword, names in named.items())]
    return sorted(found, key=lambda one: (one.created_at, one.sop_instance_uid))


def _meets(query: Query, one: Held) -> bool:
    together = set(_combined(query))
    single = (
        matches(vr_of(keyword), key, one.value(keyword)) for keyword, key in query.matching.items()
        if not any(keyword in pair for pair in together))
    return all(single) and all(
        in_combined_range(query.matching[date], query.matching[time], one.value(date), one.value(time))
        for date, time in together)


def _combined(query: Query) -> Iterator[tuple[str, str]]:
    if query.negotiated.combined_date_time:
        yield from (pair for pair in COMBINED if set(pair) <= set(query.matching))


def _has_its_sets(query: Query, entity: Entity) -> bool:
    """Keys that speak of a whole study; other entities have none of them."""
    if entity.level is not Level.STUDY:
        return True
    of_study = {"ModalitiesInStudy": "Modality", "SOPClassesInStudy": "SOPClassUID"}
    return all(
        matches(vr_of(keyword), query.keys[keyword], "\\".join(entity.several(source)))
        for keyword, source in of_study.items() if not is_universal(query.keys.get(keyword, "")))

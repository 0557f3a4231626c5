"""Reports as the clerk leaves them: files made by ``sr_writer`` and their rows, of runs that are over."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydicom.dataset import Dataset

from node import results
from node.database import insert_ignore, now, report, result, run, study, transaction
from sr_writer import measurement_report, text_report
from tests.tools.sr_samples import identity_for, result_for, small_cr

BUILDERS = {"measurement_report": measurement_report.build, "text_report": text_report.build}


@dataclass
class Shelf:
    """Two reports per study, as configured by default. ``booked`` False leaves table ``result`` to the first query."""

    engine: sa.Engine
    data_dir: Path
    booked: bool = True
    number: int = 0

    def keep(
        self, study_uid: str, *, demo: bool = False, lane: str = "fresh", run_state: str = "done", version: int = 1,
        **attributes: Any,
    ) -> list[Dataset]:
        """Write both reports of a study whose image has these ``attributes``; what was written."""
        head = source(study_uid, attributes)
        with transaction(self.engine) as connection:
            insert_ignore(connection, study, study_instance_uid=study_uid, lane=lane, opened_at=0.0,
                          last_received_at=0.0)
            insert_ignore(connection, run, study_instance_uid=study_uid, version=version, started_at=0.0,
                          trigger="quiet", state=run_state)
        return [self._write(head, kind, version, demo) for kind in BUILDERS]

    def _write(self, head: Dataset, kind: str, version: int, demo: bool) -> Dataset:
        self.number += 1
        found = result_for(head)
        made = BUILDERS[kind](found, head, [head], identity_for(found, self.number))
        path = Path("reports") / f"{made.SOPInstanceUID}.dcm"
        (self.data_dir / "reports").mkdir(parents=True, exist_ok=True)
        made.save_as(self.data_dir / path, enforce_file_format=True)
        with transaction(self.engine) as connection:
            insert_ignore(
                connection, report, sop_instance_uid=made.SOPInstanceUID, study_instance_uid=made.StudyInstanceUID,
                version=version, kind=kind, sop_class_uid=made.SOPClassUID, demo=demo, path=str(path),
                series_instance_uid=made.SeriesInstanceUID, created_at=now())
            if self.booked:
                results.book(connection, self.data_dir / path)
        return made

    def multiply(self, studies: int) -> None:
        """Rows of so many more studies, as like as the first; their files are not there."""
        with transaction(self.engine) as connection:
            first = {table: dict(connection.execute(sa.select(table)).mappings().first() or {})
                     for table in (study, run, report, result)}
            for table, row in first.items():
                rows = [{**row, **_uids(table, number)} for number in range(studies)]
                if table is result:
                    rows = [{**one, "attributes": {**one["attributes"], "StudyInstanceUID": one["study_instance_uid"],
                                                   "SOPInstanceUID": one["sop_instance_uid"]}} for one in rows]
                connection.execute(sa.insert(table), rows)

    def file(self, sop_instance_uid: str) -> Path:
        """Where an object lies."""
        return self.data_dir / "reports" / f"{sop_instance_uid}.dcm"


def _uids(table: sa.Table, number: int) -> dict[str, str]:
    """New UIDs for the columns that have to differ."""
    made = {"study_instance_uid": f"1.3.{number}", "sop_instance_uid": f"1.3.{number}.1"}
    return {name: uid for name, uid in made.items() if name in table.c}


def source(study_uid: str, attributes: dict[str, Any]) -> Dataset:
    """The head of a radiograph in UTF-8."""
    head = copy.deepcopy(small_cr())
    head.SpecificCharacterSet = "ISO_IR 192"
    head.StudyInstanceUID, head.SeriesInstanceUID, head.SOPInstanceUID = study_uid, f"{study_uid}.1", f"{study_uid}.1.1"
    for keyword, value in attributes.items():
        setattr(head, keyword, value)
    return head

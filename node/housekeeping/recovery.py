"""What is done about a file or a row that has lost the other: brought back, marked, or put into quarantine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from node import audit, heat_maps, routing
from node.database import instance, now, run, study, transaction
from node.domain import JSON, AuditEvent, InstanceState
from node.errors import BadInput, StorageError, Undecodable
from node.header import require_usable
from node.header.reading import stored
from node.housekeeping.inventory import StoredFile

LONGEST_CODE = 16

_Row = sa.Row[*tuple[Any, ...]]


class Recovery:
    """Repairs of one store. Every change is one transaction with its audit event; a file moves after its row."""

    def __init__(self, engine: sa.Engine, data_dir: Path, chain: str, historical_hours: float) -> None:
        self._engine = engine
        self._data_dir = data_dir
        self._chain = chain
        self._historical_hours = historical_hours

    def restore(self, files: Sequence[StoredFile]) -> int:
        """Give files without a row their rows back: the clerk then looks at them as at what just came.

        What is not a whole Part 10 file with usable UIDs goes to quarantine. How many got a row.
        Raises StorageError.
        """
        rows = []
        for file in files:
            try:
                rows.append(self._identity(file))
            except BadInput as error:
                self.quarantine(file.path, str(error))
        if rows:
            with transaction(self._engine) as connection:
                for row in rows:
                    self._note(connection, "store.restored", row["path"], row["study_instance_uid"],
                               row["sop_instance_uid"], {"size": row["size"]})
                connection.execute(sa.insert(instance), rows)
        return len(rows)

    def found_again(self, row: _Row) -> bool:
        """The file of a missing instance is back, as from a backup; False when its row changed meanwhile."""
        return self._move(row, InstanceState.RECEIVED, "store.restored", "its file is back")

    def mark_missing(self, row: _Row, reason: str) -> bool:
        """Its file is lost; a version that has not ended begins anew without it. False when the row changed meanwhile.

        What an ended version said stands: it was said of the image, not of our copy.
        """
        return self._move(row, InstanceState.MISSING, "store.missing", reason)

    def finish_removal(self, row: _Row) -> None:
        """A process was killed between row and file. Raises StorageError."""
        with transaction(self._engine) as connection:
            self._note(connection, "store.removed", row.path, row.study_instance_uid, row.sop_instance_uid, {})
        heat_maps.discard(self._data_dir, row.id)
        _unlink(self._data_dir / row.path)

    def quarantine(self, path: str, reason: str) -> str:
        """Move a file that is not what it should be out of the way; its new path. Raises StorageError."""
        try:
            with (self._data_dir / path).open("rb") as file:
                kept = Path("quarantine", f"{hashlib.file_digest(file, 'sha256').hexdigest()}.dcm")
            with transaction(self._engine) as connection:
                self._note(connection, "store.quarantined", path, "", "", {"kept": str(kept), "reason": reason})
            (self._data_dir / kept.parent).mkdir(mode=0o750, exist_ok=True)
            (self._data_dir / path).rename(self._data_dir / kept)
        except OSError as error:
            raise StorageError(f"{path}: cannot be moved to quarantine ({error.strerror})") from error
        return str(kept)

    def _move(self, row: _Row, state: InstanceState, action: str, reason: str) -> bool:
        claim = sa.update(instance).where(instance.c.id == row.id, instance.c.state == row.state)
        with transaction(self._engine) as connection:
            if connection.execute(claim.values(state=state.value)).rowcount == 0:
                return False
            self._note(connection, action, row.path, row.study_instance_uid, row.sop_instance_uid,
                       {"instance": row.id, "was": row.state, "reason": reason})
            if row.evidence and state is InstanceState.MISSING:
                _begin_anew(connection, row.study_instance_uid)
        return True

    def _note(self, connection: sa.Connection, action: str, path: str, study_uid: str, uid: str, more: JSON) -> None:
        audit.append(connection, self._chain, AuditEvent(
            action=action, study_instance_uid=study_uid, sop_instance_uid=uid, detail={"path": path, **more}))

    def _identity(self, file: StoredFile) -> JSON:
        """The row's values, from the file alone."""
        path = self._data_dir / file.path
        with stored(path) as (meta, data):
            uids = [data.text(tag) for tag in (0x0020000D, 0x0020000E, 0x00080018)]
            require_usable(*uids)
            transfer_syntax_uid = meta.text(0x00020010)
            if not (transfer_syntax_uid and data.whole):
                raise Undecodable(f"{path.name} is cut off, or has no Transfer Syntax UID")
            lane = routing.lane_by_date(
                data.text(0x00080020), data.text(0x00080030), datetime.now(), self._historical_hours)
            return {
                "study_instance_uid": uids[0], "series_instance_uid": uids[1], "sop_instance_uid": uids[2],
                "sop_class_uid": (data.text(0x00080016) or meta.text(0x00020002))[:64],
                "transfer_syntax_uid": transfer_syntax_uid[:64], "modality": data.text(0x00080060)[:LONGEST_CODE],
                "path": file.path, "size": file.size, "received_at": file.written_at, "lane": lane.value,
                "calling_ae_title": meta.text(0x00020016)[:LONGEST_CODE], "called_ae_title": "", "source_host": "",
            }


def _begin_anew(connection: sa.Connection, uid: str) -> None:
    """As when evidence is withdrawn, unless the last version has said what it has to say."""
    ended = sa.exists().where(run.c.study_instance_uid == study.c.study_instance_uid,
                              run.c.version == study.c.version, run.c.state.in_(("done", "not_evaluable")))
    connection.execute(
        sa.update(study).where(study.c.study_instance_uid == uid, study.c.version > 0, ~study.c.open, ~ended)
        .values(open=True, opened_at=now(), last_received_at=now()))


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path}: cannot be removed ({error.strerror}); look at the disk") from error

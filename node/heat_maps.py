"""Kept heat maps: a row per explained finding, and pictures. Both go when the image goes that they show.

Pictures are named by numbers and a digest, never by what came over the network.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from node.database import heat_map, insert_ignore, instance, now
from node.domain import JSON, HeatMapState, InstanceState
from node.errors import StorageError

FOLDER = "heat_maps"
FILELESS = (InstanceState.REMOVED.value, InstanceState.MISSING.value)

SETTLED = ("state", "reason", "method", "deletion_drop", "needed_drop", "localisation")
"""Columns that hold what came of a map, besides its cells."""

Row = sa.Row[*tuple[Any, ...]]


class View(Enum):
    """Pictures of an explained image."""

    #: The square that the model was shown, padding included.
    SEEN = "seen"
    #: Turned as it was received, without padding.
    FRAME = "frame"
    #: The same with the map over it; of a reliable map only.
    OVERLAY = "overlay"


def place(data_dir: Path, version: int, instance_id: int, frame: int, finding: str, view: View) -> Path:
    """Where a picture is kept. The first two are the same for every finding of an image."""
    name = f"v{version}-{frame}-{view.value}"
    if view is View.OVERLAY:
        name += f"-{hashlib.sha256(finding.encode()).hexdigest()[:16]}"
    return data_dir / FOLDER / str(instance_id) / f"{name}.png"


def keep(path: Path, png: bytes) -> None:
    """Write a picture, whole or not at all. Raises StorageError."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(png)
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror})") from error


def discard(data_dir: Path, instance_id: int) -> None:
    """Remove every picture of an instance; none is no error. Raises StorageError."""
    folder = data_dir / FOLDER / str(instance_id)
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"{folder}: cannot be removed ({error.strerror}); look at the disk") from error


def book(
    connection: sa.Connection, uid: str, version: int, finding: str, *, instance_id: int, sop_instance_uid: str,
    frame: int, model: JSON,
) -> None:
    """A map is going to be made."""
    insert_ignore(
        connection, heat_map, study_instance_uid=uid, version=version, finding=finding, instance_id=instance_id,
        sop_instance_uid=sop_instance_uid, frame=frame, model=model, state=HeatMapState.PENDING.value, updated_at=now())


def settle(connection: sa.Connection, uid: str, version: int, told: JSON) -> None:
    """What came of the map of ``told["finding"]``; ``cells`` in base64."""
    values = {name: told[name] for name in SETTLED if name in told}
    _change(connection, uid, version, heat_map.c.finding == told["finding"],
            cells=base64.b64decode(told.get("cells", "")), **values)


def give_up(connection: sa.Connection, uid: str, version: int, reason: str) -> None:
    """No map is made of what still waits for one."""
    _change(connection, uid, version, heat_map.c.state == HeatMapState.PENDING.value,
            state=HeatMapState.FAILED.value, reason=reason)


def _change(connection: sa.Connection, uid: str, version: int, which: sa.ColumnElement[bool], **values: Any) -> None:
    of_version = heat_map.c.study_instance_uid == uid, heat_map.c.version == version
    connection.execute(sa.update(heat_map).where(*of_version, which).values(updated_at=now(), **values))


def of_version(connection: sa.Connection, uid: str, version: int) -> Sequence[Row]:
    """Rows of one version of a study, by finding."""
    mine = heat_map.c.study_instance_uid == uid, heat_map.c.version == version
    return connection.execute(sa.select(heat_map).where(*mine).order_by(heat_map.c.finding)).all()


def of_study(connection: sa.Connection, uid: str) -> Sequence[Row]:
    """Rows of all versions, the newest first, with ``image_state``, the state of the instance they show."""
    query = sa.select(heat_map, instance.c.state.label("image_state")).outerjoin(
        instance, instance.c.id == heat_map.c.instance_id)
    return connection.execute(query.where(heat_map.c.study_instance_uid == uid).order_by(
        heat_map.c.version.desc(), heat_map.c.finding)).all()


def views(row: Row) -> tuple[View, ...]:
    """Which pictures there are of a row of :func:`of_study`."""
    if row.image_state is None or row.image_state in FILELESS:
        return ()
    reliable, unreliable = HeatMapState.RELIABLE.value, HeatMapState.UNRELIABLE.value
    return {reliable: tuple(View), unreliable: (View.SEEN, View.FRAME)}.get(row.state, ())


def is_pending(study_instance_uid: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """If a map of that study is still to be made: its files are needed for it."""
    return sa.exists().where(heat_map.c.study_instance_uid == study_instance_uid,
                             heat_map.c.state == HeatMapState.PENDING.value)

"""A tile of a slide is an image of its own: it is part of the key of its scores and of its vector."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

UID = SHORT = sa.String(64)
SECONDS = sa.Float(53)


def upgrade() -> None:
    _with_tile(
        "score", _key("sop_instance_uid", UID), _key("instance_id", sa.Integer), _key("model_sha256", SHORT),
        _key("prompt_set", SHORT), _key("frame", sa.Integer), _key("tile", sa.Integer),
        _column("study_instance_uid", UID), _column("scores", sa.JSON), _column("gate", sa.JSON),
        _column("transforms_sha256", SHORT), _column("scored_at", SECONDS), indexed=["study_instance_uid"])
    _with_tile(
        "embedding", _key("instance_id", sa.Integer), _key("frame", sa.Integer), _key("tile", sa.Integer),
        _key("model_sha256", SHORT), _column("sop_instance_uid", UID), _column("study_instance_uid", UID),
        _column("vector", sa.LargeBinary), _column("dimension", sa.Integer), _column("scored_at", SECONDS),
        indexed=["sop_instance_uid", "study_instance_uid"])


def _key(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


def _column(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _with_tile(name: str, *columns: sa.Column[Any], indexed: list[str]) -> None:
    """SQLite cannot change a key: the table is made anew, on both databases alike.

    What was scored before was no tile, or the first of its frame, which is scored again as what it is.
    """
    kept = ", ".join(column.name for column in columns if column.name != "tile")
    op.execute(f"CREATE TABLE {name}_before AS SELECT * FROM {name}")
    op.drop_table(name)
    op.create_table(name, *columns)
    for column in indexed:
        op.create_index(f"ix_{name}_{column}", name, [column])
    op.execute(f"INSERT INTO {name} ({kept}, tile) SELECT {kept}, 0 FROM {name}_before")
    op.drop_table(f"{name}_before")

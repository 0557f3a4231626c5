"""Scores per frame, the vectors they were made from, and what was put forward for early triage."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

UID = SHORT = sa.String(64)
SECONDS = sa.Float(53)
KEPT = "sop_instance_uid, instance_id, model_sha256, prompt_set, study_instance_uid, scores, scored_at"


def upgrade() -> None:
    op.add_column("series", sa.Column("early_instances", sa.Integer, nullable=False, server_default="0"))
    _scores()
    op.create_table(
        "embedding",
        _key("instance_id", sa.Integer), _key("frame", sa.Integer), _key("model_sha256", SHORT),
        _column("sop_instance_uid", UID), _column("study_instance_uid", UID), _column("vector", sa.LargeBinary),
        _column("dimension", sa.Integer), _column("scored_at", SECONDS),
    )
    for name in "sop_instance_uid", "study_instance_uid":
        op.create_index(f"ix_embedding_{name}", "embedding", [name])


def _key(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


def _column(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _scores() -> None:
    """The frame is part of the key, which SQLite cannot change: the table is made anew, on both databases alike.

    What was scored before was the only frame; nothing says what was done to its pixels, so it is scored again.
    """
    op.execute("CREATE TABLE score_before AS SELECT * FROM score")
    op.drop_table("score")
    op.create_table(
        "score",
        _key("sop_instance_uid", UID), _key("instance_id", sa.Integer), _key("model_sha256", SHORT),
        _key("prompt_set", SHORT), _key("frame", sa.Integer), _column("study_instance_uid", UID),
        _column("scores", sa.JSON), _column("gate", sa.JSON), _column("transforms_sha256", SHORT),
        _column("scored_at", SECONDS),
    )
    op.create_index("ix_score_study_instance_uid", "score", ["study_instance_uid"])
    op.execute(f"INSERT INTO score ({KEPT}, frame, gate, transforms_sha256) SELECT {KEPT}, 1, '{{}}', '' "
               "FROM score_before")
    op.drop_table("score_before")

"""Where in an image a finding's score comes from, per version of a study."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

UID = sa.String(64)
NUMBER = sa.Float(53)


def upgrade() -> None:
    op.create_table(
        "heat_map",
        sa.Column("study_instance_uid", UID, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("finding", sa.Text, primary_key=True),
        _column("instance_id", sa.Integer), _column("sop_instance_uid", UID), _column("frame", sa.Integer),
        _column("state", sa.String(16)), _column("reason", sa.Text), _column("model", sa.JSON),
        _column("method", sa.String(16)), _column("cells", sa.LargeBinary),
        sa.Column("deletion_drop", NUMBER, nullable=True), sa.Column("needed_drop", NUMBER, nullable=True),
        _column("updated_at", NUMBER),
    )
    op.create_index("ix_heat_map_state", "heat_map", ["state"])


def _column(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)

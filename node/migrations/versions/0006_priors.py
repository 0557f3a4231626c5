"""Earlier studies that are asked for, per version of a study."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

SECONDS = sa.Float(53)


def upgrade() -> None:
    op.create_table(
        "prior",
        sa.Column("study_instance_uid", sa.String(64), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        _column("source", sa.String(64)), _column("state", sa.String(16)), _column("reason", sa.Text),
        _column("found", sa.JSON), _column("asked_at", SECONDS), _column("deadline_at", SECONDS),
        sa.Column("held_priority", sa.Integer, nullable=True),
    )
    op.create_index("prior_state", "prior", ["state"])


def _column(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)

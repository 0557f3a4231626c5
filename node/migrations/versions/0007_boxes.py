"""What the findings model said about the place of a finding, beside its heat map."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("heat_map", sa.Column("localisation", sa.JSON, nullable=True))

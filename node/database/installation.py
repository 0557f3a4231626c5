"""Tables of this installation: facts about the node, and its running role processes."""

from __future__ import annotations

import sqlalchemy as sa

from node.database.columns import Seconds, column, table

node_state = table(
    "node_state",
    sa.Column("key", sa.String(128), primary_key=True),
    column("value", sa.Text),
)
"""Facts about this installation, such as ``node_uid``."""

role_status = table(
    "role_status",
    sa.Column("slot", sa.String(64), primary_key=True),
    column("role", sa.String(16)),
    column("incarnation", sa.String(32)),
    column("pid", sa.Integer),
    column("ready", sa.Boolean, False),
    column("detail", sa.JSON, dict),
    column("beat_at", Seconds),
)
"""One row per running role process: what ``/readyz`` looks at."""

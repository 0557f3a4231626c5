"""What every table is made of. Points in time are seconds since 1970 UTC, double precision."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData()

UID = sa.String(64)
Seconds = sa.Float(53)


def table(name: str, *parts: Any) -> sa.Table:
    """A table of the one database."""
    return sa.Table(name, metadata, *parts)


def column(name: str, kind: Any, default: Any = None, **more: Any) -> sa.Column[Any]:
    """A NOT NULL column; ``default`` is applied by the client on insert."""
    return sa.Column(name, kind, nullable=False, default=default, **more)

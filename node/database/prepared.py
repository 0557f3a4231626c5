"""Statements that are run for every instance that arrives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

Values = Mapping[str, Any]


class Prepared:
    """An INSERT or UPDATE that is put together once, for both databases: to let SQLAlchemy look it up in its
    cache and convert every value takes longer than SQLite takes to run it.

    ``columns`` are those an INSERT is given values for; others get their defaults, which have to be constants.
    The values have to be such that both drivers take them as they are: texts, numbers, booleans, bytes.
    """

    def __init__(self, statement: sa.sql.dml.UpdateBase, columns: Sequence[str] | None = None) -> None:
        dialects: tuple[Dialect, ...] = (sqlite.dialect(), postgresql.psycopg.dialect())  # type: ignore[no-untyped-call]
        self._forms = {dialect.name: _Form.of(statement, dialect, columns) for dialect in dialects}

    def run(self, connection: sa.Connection, rows: Sequence[Values]) -> sa.CursorResult[Any]:
        """Execute it once per row."""
        form = self._forms[connection.dialect.name]
        given = [form.parameters(row) for row in rows]
        return connection.exec_driver_sql(form.text, given[0] if len(given) == 1 else given)


@dataclass(frozen=True)
class _Form:
    """The statement as one database is told it. ``order`` names its parameters where they have no names there."""

    text: str
    order: tuple[str, ...] | None
    constants: Values

    @classmethod
    def of(cls, statement: sa.sql.dml.UpdateBase, dialect: Dialect, columns: Sequence[str] | None) -> _Form:
        compiled: Any = statement.compile(dialect=dialect, column_keys=columns)
        fixed = {name: value for name, value in compiled.params.items() if value is not None}
        defaults = {column.key: column.default.arg for column in compiled.insert_prefetch}
        order = compiled.positiontup
        return cls(compiled.string, None if order is None else tuple(order), fixed | defaults)

    def parameters(self, row: Values) -> Any:
        if self.order is None:
            return {**self.constants, **row}
        constants = self.constants
        return tuple([row[name] if name in row else constants[name] for name in self.order])

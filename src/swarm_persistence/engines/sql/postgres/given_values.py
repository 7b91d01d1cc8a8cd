"""Passes values as a table that a statement joins: one array per column, so that one text serves any number of rows."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from swarm_persistence.engines.sql.postgres.dialect import PostgresDialect, type_of
from swarm_persistence.engines.steps import CountOf, EndClaim, Increment
from swarm_persistence.query.query import FromNow
from swarm_persistence.query.text import Marks
from swarm_persistence.schema.tables import Column, Kind, Table


class GivenMarks(Marks):
    """Names the columns of such a table in place of placeholders."""

    def next(self) -> str:
        return f"v{next(self._positions)}"


def given(types: Sequence[str], marks: Marks) -> str:
    """Return the table of values of these types, with the place of each row, counted from 1."""
    arrays = [f"{marks.next()}::{each}[]" for each in types]
    names = [f"v{place}" for place in range(1, len(arrays) + 1)]
    return f"unnest({', '.join(arrays)}) WITH ORDINALITY AS given ({', '.join(names)}, place)"


def arrays_of(rows: Iterable[Sequence[Any]]) -> list[Any]:
    """Return an array for each column, for an `unnest` of them all; at least one must hold a value.

    A column of nulls only is sent as one null, which `unnest` fills up: the driver examines each element of an array.
    """
    columns = zip(*rows, strict=True)
    return [None if column[0] is None and column.count(None) == len(column) else column for column in columns]


def may_be_shortened(column: Column) -> bool:
    """Tell whether one value may stand for those of all rows: `unnest` fills its array up with nulls."""
    # 0.0 equals -0.0, but is stored differently.
    return not column.is_nullable and column.kind is not Kind.REAL


def short_arrays_of(table: Table[Any], rows: Iterable[Sequence[Any]]) -> list[Any]:
    """Return the arrays of whole rows for a statement that takes the first value where an array has no more.

    Most columns of new rows hold one value. The driver examines each element of an array twice, and encodes it.
    """
    return [
        column[:1] if is_shortened and column is not None and column.count(column[0]) == len(column) else column
        for is_shortened, column in zip(_are_shortened(table), arrays_of(rows), strict=True)
    ]


@cache
def _are_shortened(table: Table[Any]) -> tuple[bool, ...]:
    # The array of ids keeps its full length, which gives the number of rows.
    return tuple([column.name != "id" and may_be_shortened(column) for column in table.columns])


def types_of(dialect: PostgresDialect, table: Table[Any], values: Iterable[tuple[str, object]]) -> list[str]:
    """Return the types of the values that columns are changed to, or compared with."""
    types: list[str] = []
    for name, value in values:
        if isinstance(value, FromNow):
            types += dialect.moment_types(value)
        elif isinstance(value, EndClaim):
            types += [*dialect.moment_types(FromNow()), "text"]
        elif not isinstance(value, Increment | CountOf):
            types.append(type_of(table.column(name)))
    return types

"""Chooses the access path of a query: by id, along an index, or in order of arrival. Knows conditions, and no rows.

An access path depends only on the query's shape (fields, operators, order), so it is chosen once per shape and cached.
After that, planning collects the query's values.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from swarm_persistence.query.query import Condition, Query
from swarm_persistence.query.semantics import matches_nothing, may_be_null
from swarm_persistence.schema.tables import SEQUENCE, Index, Table
from swarm_persistence.schema.values import ColumnValue

ARRIVALS = Index("arrivals", ())
"""The index that every table has: its rows in order of arrival."""

_BY_ID = Index("by_id", ("id",))
"""The index of derived ids, which sort as what they are made of."""


def indexes_of(table: Table[Any]) -> tuple[Index, ...]:
    """Return the indexes of a table, that of arrivals first."""
    return (ARRIVALS, *((_BY_ID,) if table.derived_id else ()), *table.indexes)


class Bound(NamedTuple):
    """One end of a range. Null sorts below every value."""

    value: ColumnValue
    is_inclusive: bool


class AccessPath(msgspec.Struct, frozen=True):
    """How to find a query's rows. The rows found must still match the `residual` conditions."""

    ids: tuple[str, ...] | None = None
    """The ids to look up; if set, the fields of the index below are ignored."""
    index: Index = ARRIVALS
    equal: tuple[Any, ...] = ()
    """The values of the index's first columns; a pair of them for an unordered pair."""
    lower: Bound | None = None
    """The lower bound of the next column."""
    upper: Bound | None = None
    """Its upper bound."""
    is_backward: bool = False
    is_sorted: bool = False
    """Whether the rows are found in the query's full order."""
    residual: tuple[Condition, ...] = ()


class IndexColumn(NamedTuple):
    """A column of an index; `a|b` for an unordered pair."""

    field: str
    is_descending: bool = False


def columns_of(index: Index) -> list[IndexColumn]:
    """Return the columns of an index, with the sequence that each index ends with."""
    columns = [IndexColumn(text.removeprefix("-"), text.startswith("-")) for text in index.columns]
    return [*columns, IndexColumn(SEQUENCE)]


class Planner:
    """Chooses the access paths of one table's queries."""

    def __init__(self, table: Table[Any]) -> None:
        self._table = table
        self._templates: dict[object, _PathTemplate] = {}
        self._limiting_fields = table.limiting_fields

    def plan(self, query: Query[Any]) -> AccessPath:
        """Return the access path of a query."""
        shape = (query.order, query.limit is None, tuple(map(self._shape, query.conditions)))
        template = self._templates.get(shape)
        if template is None:
            template = self._templates[shape] = self._choose(query)
        return template(query.conditions)

    def _shape(self, condition: Condition) -> object:
        # Whether a partial index applies depends on a value, of which such a column has few.
        is_limiting = condition.operator == "=" and condition.field in self._limiting_fields
        return (
            condition.field,
            condition.operator,
            condition.value if is_limiting else matches_nothing(self._table, condition),
        )

    def _choose(self, query: Query[Any]) -> "_PathTemplate":
        if any(matches_nothing(self._table, condition) for condition in query.conditions):
            return lambda conditions: AccessPath(ids=())
        for place, condition in enumerate(query.conditions):
            if condition.field == "id" and condition.operator in ("=", "IN"):
                return _id_lookup(place)
        usable = [index for index in indexes_of(self._table) if _holds_all(index, query)]
        scans = [_index_scan(self._table, index, query) for index in usable]
        return max(scans, key=lambda scan: scan.rank(query.limit is not None)).path


_PathTemplate = Callable[[tuple[Condition, ...]], AccessPath]
"""Makes the access path of a query from its conditions, for one shape."""


def _id_lookup(place: int) -> _PathTemplate:
    def path(conditions: tuple[Condition, ...]) -> AccessPath:
        _, operator, value = conditions[place]
        candidates: Any = (value,) if operator == "=" else value
        ids = tuple(dict.fromkeys(id for id in candidates if id is not None))
        return AccessPath(ids, is_sorted=len(ids) == 1, residual=conditions[:place] + conditions[place + 1 :])

    return path


class _IndexScan(msgspec.Struct, frozen=True):
    """A scan of an index. Conditions are given by their positions in the query."""

    index: Index
    equal: tuple[int, ...]
    lower: int | None
    upper: int | None
    floor: Bound | None
    """The lower bound if no condition sets one: a range of a nullable column begins above null."""
    is_backward: bool | None
    """The direction in which the index yields the query's order; `None` if neither does."""
    residual: tuple[int, ...]

    def rank(self, is_limited: bool) -> tuple[int, bool, bool]:
        """Return the rank of this scan: more equal values win, then whatever lets the scan stop early."""
        equal = len(self.equal) + len(self.index.where)
        is_sorted = self.is_backward is not None
        has_range = (self.lower, self.upper, self.floor) != (None, None, None)
        return (equal, is_sorted, has_range) if is_limited else (equal, has_range, is_sorted)

    def path(self, conditions: tuple[Condition, ...]) -> AccessPath:
        return AccessPath(
            None,
            self.index,
            tuple([conditions[place].value for place in self.equal]),
            self.floor if self.lower is None else _bound(conditions[self.lower]),
            None if self.upper is None else _bound(conditions[self.upper]),
            bool(self.is_backward),
            self.is_backward is not None,
            tuple([conditions[place] for place in self.residual]),
        )


def _index_scan(table: Table[Any], index: Index, query: Query[Any]) -> _IndexScan:
    conditions = query.conditions
    columns = columns_of(index)
    equal: list[int] = []
    while columns and (place := _place(conditions, columns[0].field, "=", "IS NULL", "PAIR")) is not None:
        equal.append(place)
        del columns[0]
    lower = upper = present = floor = None
    if columns and "|" not in columns[0].field:
        lower = _place(conditions, columns[0].field, ">", ">=")
        upper = _place(conditions, columns[0].field, "<", "<=")
        if lower is None and may_be_null(table, columns[0].field):
            present = _place(conditions, columns[0].field, "IS NOT NULL")
            floor = None if (upper, present) == (None, None) else Bound(None, is_inclusive=False)
    used = {*equal, lower, upper, present}
    used.update(_place(conditions, field, "=") for field, _ in index.where)
    return _IndexScan(
        index,
        tuple(equal),
        lower,
        upper,
        floor,
        _direction(columns, query),
        tuple(place for place in range(len(conditions)) if place not in used),
    )


_NEVER_TRUE_OF_NULL = ("=", "<>", "<", "<=", ">", ">=", "LIKE", "IN", "IS NOT NULL")


def _holds_all(index: Index, query: Query[Any]) -> bool:
    """Tell whether an index, which may be partial, holds every row that can match the query."""
    if index.present is not None and _place(query.conditions, index.present, *_NEVER_TRUE_OF_NULL) is None:
        return False
    for field, value in index.where:
        place = _place(query.conditions, field, "=")
        if place is None or query.conditions[place].value != value:
            return False
    return True


def _direction(columns: list[IndexColumn], query: Query[Any]) -> bool | None:
    """Tell whether these columns yield the query's order forwards (`False`), backwards (`True`), or not (`None`)."""
    constant = {condition.field for condition in query.conditions if condition.operator in ("=", "IS NULL")}
    given = [column for column in columns if column.field not in constant]
    wanted: dict[str, bool] = {}
    for term in query.full_order:
        if term.field not in constant:
            wanted.setdefault(term.field, term.is_descending)
        if term.field in (SEQUENCE, "id"):  # They are unique, so later terms have no effect.
            break
    if "id" in wanted:
        given = given[: len(wanted)]
    if [column.field for column in given] != list(wanted):
        return None
    directions = {column.is_descending != wanted[column.field] for column in given}
    return None if len(directions) > 1 else True in directions


def _place(conditions: tuple[Condition, ...], field: str, *operators: str) -> int | None:
    for place, condition in enumerate(conditions):
        if condition.field == field and condition.operator in operators:
            return place
    return None


def _bound(condition: Condition) -> Bound:
    value: Any = condition.value
    return Bound(value, condition.operator in (">=", "<="))

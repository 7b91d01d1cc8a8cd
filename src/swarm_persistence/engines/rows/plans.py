"""Chooses the way to a query's rows: by id, along an index, or along the arrivals. Knows conditions, and no rows.

A way depends on the shape of a query only (fields, operators, order), so it is chosen once per shape and kept; after
that, planning is collecting the values.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from swarm_persistence.query.query import Condition, Query
from swarm_persistence.query.semantics import finds_nothing, may_be_null
from swarm_persistence.schema.tables import SEQUENCE, Index, Table
from swarm_persistence.schema.values import ColumnValue

ARRIVALS = Index("arrivals", ())
"""The index that every table has: its rows in the order of their arrival."""


class Bound(NamedTuple):
    """An end of a range; null, which lies below every value, may be one."""

    value: ColumnValue
    is_inclusive: bool


class Plan(msgspec.Struct, frozen=True):
    """The way to a query's rows. All that the way finds must still fulfil the `residue` of the conditions."""

    ids: tuple[str, ...] | None = None
    """The only ids that the rows can have; the other fields tell of an index and don't count then."""
    index: Index = ARRIVALS
    equal: tuple[Any, ...] = ()
    """The values of the index's first columns, two for an unordered pair."""
    lower: Bound | None = None
    """Where the next column begins."""
    upper: Bound | None = None
    """Where it ends."""
    is_backward: bool = False
    is_sorted: bool = False
    """Whether the way gives the rows in the query's full order."""
    residue: tuple[Condition, ...] = ()


class IndexColumn(NamedTuple):
    """A column of an index; `a|b` for an unordered pair."""

    field: str
    is_descending: bool = False


def columns_of(index: Index) -> list[IndexColumn]:
    """Return the columns of an index, the arrival that follows by itself included."""
    columns = [IndexColumn(text.removeprefix("-"), text.startswith("-")) for text in index.columns]
    return [*columns, IndexColumn(SEQUENCE)]


class Planner:
    """Plans the queries of one table."""

    def __init__(self, table: Table[Any]) -> None:
        self._table = table
        self._ways: dict[object, _Way] = {}
        self._limiting_fields = table.limiting_fields

    def plan(self, query: Query[Any]) -> Plan:
        """Return the way to a query's rows."""
        shape = (query.order, query.limit is None, tuple(map(self._shape, query.conditions)))
        way = self._ways.get(shape)
        if way is None:
            way = self._ways[shape] = self._choose(query)
        return way(query.conditions)

    def _shape(self, condition: Condition) -> object:
        # Whether a partial index serves depends on a value, one of the few that such a column can have.
        is_limiting = condition.operator == "=" and condition.field in self._limiting_fields
        return (
            condition.field,
            condition.operator,
            condition.value if is_limiting else finds_nothing(self._table, condition),
        )

    def _choose(self, query: Query[Any]) -> "_Way":
        if any(finds_nothing(self._table, condition) for condition in query.conditions):
            return lambda conditions: Plan(ids=())
        for place, condition in enumerate(query.conditions):
            if condition.field == "id" and condition.operator in ("=", "IN"):
                return _way_by_id(place)
        usable = [index for index in (ARRIVALS, *self._table.indexes) if _holds_all(index, query)]
        ways = [_way_along(self._table, index, query) for index in usable]
        return max(ways, key=lambda way: way.merit(query.limit is not None)).plan


_Way = Callable[[tuple[Condition, ...]], Plan]
"""Plans the queries of one shape from their conditions."""


def _way_by_id(place: int) -> _Way:
    def plan(conditions: tuple[Condition, ...]) -> Plan:
        _, operator, value = conditions[place]
        candidates: Any = (value,) if operator == "=" else value
        ids = tuple(dict.fromkeys(id for id in candidates if id is not None))
        return Plan(ids, is_sorted=len(ids) == 1, residue=conditions[:place] + conditions[place + 1 :])

    return plan


class _WayAlong(msgspec.Struct, frozen=True):
    """The way along an index; conditions are told by their places in the query."""

    index: Index
    equal: tuple[int, ...]
    lower: int | None
    upper: int | None
    floor: Bound | None
    """The lower end if no condition gives one: a range of a column that may be null begins above null."""
    is_backward: bool | None
    """The direction that gives the query's order, if one does."""
    residue: tuple[int, ...]

    def merit(self, is_limited: bool) -> tuple[int, bool, bool]:
        """Return what makes a way better than another: equal values first, then what lets it stop early."""
        equal = len(self.equal) + len(self.index.where)
        is_sorted = self.is_backward is not None
        has_range = (self.lower, self.upper, self.floor) != (None, None, None)
        return (equal, is_sorted, has_range) if is_limited else (equal, has_range, is_sorted)

    def plan(self, conditions: tuple[Condition, ...]) -> Plan:
        return Plan(
            None,
            self.index,
            tuple([_equal_value(conditions[place]) for place in self.equal]),
            self.floor if self.lower is None else _bound(conditions[self.lower]),
            None if self.upper is None else _bound(conditions[self.upper]),
            bool(self.is_backward),
            self.is_backward is not None,
            tuple([conditions[place] for place in self.residue]),
        )


def _way_along(table: Table[Any], index: Index, query: Query[Any]) -> _WayAlong:
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
    return _WayAlong(
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
    """Tell whether an index, maybe a partial one, holds every row that the query can find."""
    if index.present is not None and _place(query.conditions, index.present, *_NEVER_TRUE_OF_NULL) is None:
        return False
    for field, value in index.where:
        place = _place(query.conditions, field, "=")
        if place is None or query.conditions[place].value != value:
            return False
    return True


def _direction(columns: list[IndexColumn], query: Query[Any]) -> bool | None:
    """Tell whether these columns give the query's order forwards (`False`), backwards (`True`), or not (`None`)."""
    constant = {condition.field for condition in query.conditions if condition.operator in ("=", "IS NULL")}
    given = [column for column in columns if column.field not in constant]
    wanted: dict[str, bool] = {}
    for term in query.full_order:
        if term.field not in constant:
            wanted.setdefault(term.field, term.is_descending)
        if term.field == SEQUENCE:  # No two rows share it: what follows does not count.
            break
    if [column.field for column in given] != list(wanted):
        return None
    directions = {column.is_descending != wanted[column.field] for column in given}
    return None if len(directions) > 1 else True in directions


def _place(conditions: tuple[Condition, ...], field: str, *operators: str) -> int | None:
    for place, condition in enumerate(conditions):
        if condition.field == field and condition.operator in operators:
            return place
    return None


def _equal_value(condition: Condition) -> Any:
    return None if condition.operator == "IS NULL" else condition.value


def _bound(condition: Condition) -> Bound:
    value: Any = condition.value
    return Bound(value, condition.operator in (">=", "<="))

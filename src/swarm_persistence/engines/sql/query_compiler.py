"""Compiles reads into SQL text and parameters; knows dialects, but no database.

The text of a shape (which fields, which operators, which order) is written once and cached; after that, compiling
is collecting the values.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from swarm_persistence.engines.reads import Aggregate, AggregateFunction, Bucket, Elapsed, FirstOfEach
from swarm_persistence.query.query import Condition, FromNow, Order, Query, Subquery
from swarm_persistence.query.split_in import split_arrival_scan
from swarm_persistence.query.text import Dialect, Marks, listed, quoted, where_text
from swarm_persistence.schema.tables import LARGE_KINDS, SEQUENCE, Kind, Table
from swarm_persistence.schema.values import LARGEST_INTEGER, ColumnValue

Compiled = tuple[str, list[ColumnValue]]


class QueryCompiler:
    """Writes the reads of one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._texts: dict[object, str] = {}

    def select(self, query: Query[Any]) -> Compiled:
        """Return the text that reads a query's rows, each with its sequence."""
        return self.values(query, query.table.record_names)

    def values(self, query: Query[Any], fields: tuple[str, ...]) -> Compiled:
        """Return the text that reads some columns of a query's rows."""
        columns = listed(fields)
        return self._chosen(query, columns, columns, split_arrival_scan(query) if SEQUENCE in fields else None)

    def _chosen(self, query: Query[Any], columns: str, names: str, branches: list[Query[Any]] | None) -> Compiled:
        """Return the text that reads columns of a query's rows, or of the rows of its branches by their `names`."""
        key = ("values", columns, self._shape(query), branches and tuple(map(self._shape, branches)))
        text = self._texts.get(key)
        if text is None:
            marks = Marks(self.dialect)
            choice = f"SELECT {columns}"
            if branches is None:
                clauses = [choice, *self._from(query, marks), *self._order_and_bounds(query, marks)]
            else:
                clauses = [f"SELECT {names}", "FROM (", self._union(branches, choice, marks), ") AS heads"]
                clauses += [f"ORDER BY {SEQUENCE}", self.dialect.limit(marks.next())]
            text = self._texts[key] = "\n".join(clauses)
        if branches is None:
            return text, self._values(query)
        return text, [*(value for each in branches for value in self._values(each)), query.limit]

    def sizes(self, query: Query[Any], kinds: frozenset[Kind]) -> Compiled:
        """Return the text that reads the ids of a query's rows, and the bytes of their columns of these kinds."""
        columns, branches = f"id, {self._size(query.table, kinds)}", split_arrival_scan(query)
        if branches is not None:
            columns = f"{columns} AS size, {SEQUENCE}"
        return self._chosen(query, columns, "id, size", branches)

    def extent(self, query: Query[Any]) -> Compiled:
        """Return the text that gives the number of a query's rows, the sum of their `sizes`, and their highest id.

        The last column is the number of rows that expire.
        """
        expiry = query.table.expiry or "NULL"
        text, values = self.values(
            query, ("id", f"{self._size(query.table, LARGE_KINDS)} AS size", f"{expiry} AS expiry")
        )
        columns = f"count(*), {self.dialect.whole_sum('size')}, max(id), count(expiry)"
        return f"SELECT {columns}\nFROM (\n{text}\n) AS sized", values

    def exists(self, query: Query[Any]) -> Compiled:
        """Return the text that returns one row if any fulfils a query's conditions."""
        key = ("exists", query.table.name, self._conditions_shape(query))
        text = self._texts.get(key)
        if text is None:
            clauses = ["SELECT 1", *self._from(query, Marks(self.dialect)), "LIMIT 1"]
            text = self._texts[key] = "\n".join(clauses)
        return text, self.dialect.values(query.table, query.conditions)

    def is_any(self, queries: Sequence[Query[Any]]) -> str:
        """Return the text that tells whether a row matches one of these queries, which hold no values to mark."""
        key = ("is any", *((query.table.name, self._conditions_shape(query)) for query in queries))
        text = self._texts.get(key)
        if text is None:
            marks = Marks(self.dialect)
            text = self._texts[key] = "SELECT " + "\nOR ".join(
                f"EXISTS ({self._exists_query(query, marks)})" for query in queries
            )
        return text

    def first_of_each(self, read: FirstOfEach) -> Compiled:
        """Return the text that steps along an index from the first row of one value to the first row of the next."""
        query, field = read.query, read.query.order[0].field
        first = msgspec.structs.replace(
            query, conditions=(*query.conditions, Condition(field, "IS NOT NULL")), limit=None
        )
        is_later = read.after is not None
        key = ("first of each", read.fields, self._shape(first), is_later)
        text = self._texts.get(key)
        if text is None:
            marks = Marks(self.dialect)
            start = self._head(first, read.fields, marks, marks.next if is_later else None)
            step = self._next_head(first, read.fields, marks)
            heads = f"  SELECT * FROM (\n{start}\n  ) AS first\n  UNION ALL\n{step}"
            chosen = self._of_heads(first, read.fields, marks)
            limit = self.dialect.limit(marks.next())
            text = self._texts[key] = f"WITH RECURSIVE heads AS (\n{heads}\n)\n{chosen}\n{limit}"
        values = self.dialect.values(first.table, first.conditions)
        later = [read.after] if is_later else []
        return text, [*values, *later, *values * (self._times_of_heads - 1), query.limit]

    def count(self, query: Query[Any]) -> Compiled:
        """Return the text that counts the rows that fulfil a query's conditions."""
        key = ("count", query.table.name, self._conditions_shape(query))
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = "\n".join(["SELECT count(*)", *self._from(query, Marks(self.dialect))])
        return text, self.dialect.values(query.table, query.conditions)

    def aggregate(self, aggregate: Aggregate) -> Compiled:
        """Return the text that computes an aggregate."""
        query = aggregate.query
        grouping = tuple([_group_name(group) for group in aggregate.group_by])
        functions = tuple([function[:2] for function in aggregate.functions])
        key = ("aggregate", query.table.name, self._conditions_shape(query), grouping, functions)
        text = self._texts.get(key)
        if text is None:
            marks = Marks(self.dialect)
            groups = [self._group(group, marks) for group in aggregate.group_by]
            numbers = [self._function(query.table, function, marks) for function in aggregate.functions]
            clauses = [f"SELECT {', '.join((*groups, *numbers))}", *self._from(query, marks)]
            if grouping:
                order = ", ".join(self.dialect.order(Order(name)) for name in grouping)
                clauses += [f"GROUP BY {listed(grouping)}", f"ORDER BY {order}"]
            text = self._texts[key] = "\n".join(clauses)
        values: list[ColumnValue] = []
        for group in aggregate.group_by:
            if isinstance(group, Bucket):
                values += self.dialect.width_values(group.width)
        values += [function.fraction for function in aggregate.functions if function.name == "percentile"]
        return text, [*values, *self.dialect.values(query.table, query.conditions)]

    def last_sequence(self, table: Table[Any], before: int | None) -> Compiled:
        """Return the text that finds the highest sequence below another one, those of deleted rows included."""
        key = ("last sequence", table.name)
        text = self._texts.get(key)
        if text is None:
            mark = Marks(self.dialect).next()
            stored = f"(SELECT max({SEQUENCE}) FROM {self.dialect.table(table)} WHERE {SEQUENCE} < {mark})"
            deleted = f"(SELECT number FROM {self.dialect.floor(table)})"
            text = self._texts[key] = f"SELECT {self.dialect.higher(f'coalesce({stored}, 0)', deleted)}"
        return text, [LARGEST_INTEGER if before is None else before]

    _times_of_heads = 2
    """How many times the text of `first_of_each` repeats the query's conditions."""

    def _exists_query(self, query: Query[Any], marks: Marks) -> str:
        """Return the text that finds any row of the query, along the index of its order.

        Without the order, a planner that expects many matches may scan the table.
        """
        first = msgspec.structs.replace(query, limit=None)
        order = self._order_and_bounds(first, marks) if first.order else []
        return " ".join(["SELECT 1", *self._from(first, marks), *order, "LIMIT 1"])

    def _size(self, table: Table[Any], kinds: frozenset[Kind]) -> str:
        measured = [each for each in table.columns if each.kind in kinds]
        return " + ".join(f"coalesce({self.dialect.size(each)}, 0)" for each in measured) or "0"

    def _head(self, query: Query[Any], fields: Sequence[str], marks: Marks, mark: Callable[[], str] | None) -> str:
        """Return the text that reads the first row of a query, or the first one beyond a value of its first order."""
        where = where_text(query, marks)
        bounded = where if mark is None else f"{where} AND {self.dialect.beyond(query.order[0].field, mark())}"
        order = ", ".join(self.dialect.order(term) for term in query.full_order)
        name = self.dialect.table(query.table)
        return f"    SELECT {listed(fields)} FROM {name}\n    WHERE {bounded}\n    ORDER BY {order}\n    LIMIT 1"

    def _next_head(self, query: Query[Any], fields: Sequence[str], marks: Marks) -> str:
        """Return the text that reads, for each of `heads`, the first row of the next value."""
        field = query.order[0].field
        head = self._head(query, (SEQUENCE,), marks, lambda: f"heads.{quoted(field)}")
        name = self.dialect.table(query.table)
        return f"  SELECT {listed(fields, 'next.')} FROM heads JOIN {name} AS next ON next.{SEQUENCE} = (\n{head}\n  )"

    def _of_heads(self, query: Query[Any], fields: Sequence[str], marks: Marks) -> str:
        """Return the text that reads the rows that the steps have found."""
        return f"SELECT {listed(fields)}\nFROM heads"

    def _group(self, group: str | Bucket, marks: Marks) -> str:
        if not isinstance(group, Bucket):
            return quoted(group)
        return f"{self.dialect.rounded_down(group.field, marks)} AS {_group_name(group)}"

    def _function(self, table: Table[Any], function: AggregateFunction, marks: Marks) -> str:
        field = function.field
        if isinstance(field, Elapsed):
            first, *others = field.since
            since = first
            for other in others:
                since = self.dialect.higher(since, f"coalesce({other}, {first})")
            field = self.dialect.elapsed(since, field.until)
        if function.name == "percentile":
            assert field is not None
            return self.dialect.percentile(field, marks)
        return self.dialect.function(table, function.name, field)

    def _union(self, branches: list[Query[Any]], choice: str, marks: Marks) -> str:
        each = [" ".join([choice, *self._from(one, marks), *self._order_and_bounds(one, marks)]) for one in branches]
        return "\n    UNION ALL\n".join(f"    SELECT * FROM ({one}) AS head" for one in each)

    def _from(self, query: Query[Any], marks: Marks) -> list[str]:
        clauses = [f"FROM {self.dialect.table(query.table)}"]
        if query.conditions:
            clauses.append(f"WHERE {where_text(query, marks)}")
        return clauses

    def _where(self, query: Query[Any], marks: Marks) -> str:
        return f"\nWHERE {where_text(query, marks)}" if query.conditions else ""

    def _order_and_bounds(self, query: Query[Any], marks: Marks) -> list[str]:
        clauses = [f"ORDER BY {', '.join(self.dialect.order(term) for term in query.full_order)}"]
        if query.limit is not None:
            clauses.append(self.dialect.limit(marks.next()))
        elif query.offset:
            clauses.append(self.dialect.any_number_of_rows())
        if query.offset:
            clauses.append(f"OFFSET {marks.next()}")
        return clauses

    def _values(self, query: Query[Any]) -> list[ColumnValue]:
        values = self.dialect.values(query.table, query.conditions)
        if query.limit is not None:
            values.append(query.limit)
        if query.offset:
            values.append(query.offset)
        return values

    def _shape(self, query: Query[Any]) -> object:
        return (
            query.table.name,
            self._conditions_shape(query),
            query.order,
            query.limit is None,
            query.offset == 0,
        )

    def _conditions_shape(self, query: Query[Any]) -> object:
        table, is_literal = query.table, self.dialect.is_literal
        # One function for all of them: this runs for every call of a verb.
        shapes: list[object] = []
        for condition in query.conditions:
            field, operator, value = condition
            if value.__class__ is FromNow:
                shapes.append((field, operator, moment_shape(value)))
            elif operator == "IN":
                shapes.append((field, operator, self.dialect.candidates_shape(value)))  # type: ignore[arg-type]
            elif operator == "JSON":
                shapes.append((field, operator, value.shape))  # type: ignore[union-attr]
            elif operator == "IN SUBQUERY":
                assert isinstance(value, Subquery)
                inner = self._conditions_shape(value.query)
                shapes.append((field, value.query.table.name, value.field, inner))
            else:
                shapes.append((field, operator, value if is_literal(table, condition) else None))
        return tuple(shapes)


def _group_name(group: str | Bucket) -> str:
    return f"{group.field}_bucket" if isinstance(group, Bucket) else group


def moment_shape(moment: FromNow) -> object:
    # The present time is the common case, and has a text of its own.
    return FromNow, not moment.seconds

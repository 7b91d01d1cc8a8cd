"""Compiles inserts, changes and claims into SQL text and parameters, as `query_compiler.py` does reads."""

from collections.abc import Mapping, Sequence
from typing import Any

from swarm_persistence.engines.sql.query_compiler import Compiled, QueryCompiler, moment_shape
from swarm_persistence.engines.steps import Change, Claim, CountOf, EndClaim, Increment
from swarm_persistence.models import ClaimOutcome, TaskStatus
from swarm_persistence.models.past_claims import LONGEST_ERROR, MOST_PAST_CLAIMS
from swarm_persistence.query.query import FromNow, Query
from swarm_persistence.query.split_in import split_for_merge
from swarm_persistence.query.task_statuses import HELD
from swarm_persistence.query.text import Marks, listed, quoted
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import CHANGE_NUMBER, PAST_CLAIMS, SEQUENCE, Table
from swarm_persistence.schema.values import ColumnValue


class Compiler(QueryCompiler):
    """Writes the statements of one dialect."""

    def insert(self, table: Table[Any], rows: int = 1) -> str:
        """Return the text that inserts this number of rows."""
        marks = Marks(self.dialect)
        into = f"INSERT INTO {self.dialect.table(table)}"
        # Without spaces: a driver keeps no text prepared that is too long.
        values = ",".join(f"({','.join(marks.next() for _ in table.names)})" for _ in range(rows))
        if not table.is_followed:
            return f"{into} ({listed(table.names)})\nVALUES {values}"
        into = f"{into} ({listed((*table.names, CHANGE_NUMBER))})"
        number = self.dialect.change_number(table)
        if rows == 1:
            return f"{into}\nVALUES ({values[1:-1]}, {number})"
        # Compute the number once: a subquery for each row would cost more than the rows.
        return f"{into}\nSELECT *, {number}\nFROM (VALUES {values})"

    def restore(self, table: Table[Any], keeps_sequence: bool) -> str:
        """Return the text that adds a row with its hidden columns; it marks those of `restored_names`."""
        marks = Marks(self.dialect)
        names = restored_names(table, keeps_sequence)
        values = [marks.next() for _ in names]
        if table.is_followed:
            names, values = [*names, CHANGE_NUMBER], [*values, self.dialect.change_number(table)]
        return f"INSERT INTO {self.dialect.table(table)} ({listed(names)})\nVALUES ({', '.join(values)})"

    def save(self, table: Table[Any]) -> str:
        """Return the text that adds a row, or replaces the one of its id and version."""
        marked = len(table.names)
        written = [
            f"{name} = {self._claims_after_replacing(f'{table.name}.', _NEW_AGENT, self._now(marked))}"
            if name == PAST_CLAIMS
            else f"{quoted(name)} = {self._raised(table, name, f'{table.name}.{name}', f'excluded.{quoted(name)}')}"
            for name in table.names
            if name != "id"
        ]
        changes = ",\n  ".join((*written, *self._marked(table)))
        text = f"{self.insert(table)}\nON CONFLICT (id) DO UPDATE SET\n  {changes}"
        conditions = [f"{table.name}.version = excluded.version - 1"] if table.is_versioned else []
        if table.sticky is not None:
            conditions.append(self._sticky(table, f"{table.name}.", f"excluded.{table.sticky[0]}"))
        matches = " AND ".join(conditions)
        if table.expiry is not None:
            matches = f"{table.name}.{table.expiry} <= {self._now(marked)} OR {matches}"
        return f"{text}\nWHERE {matches}" if conditions else text

    def save_values(self, table: Table[Any], row: Row) -> Sequence[ColumnValue]:
        """Return the values of `save`: the columns, and the present time if rows expire or their claims end."""
        needs_time = table.expiry is not None or table.has_claims
        return (*row, *self.dialect.moment_values(_NOW)) if needs_time else row

    def put(self, table: Table[Any], rows: int, *, if_absent: bool) -> str:
        """Return the text that inserts or replaces this number of rows; its placeholders take `put_values`.

        It gives the id, the version and `created_at` of each row that it has written.
        """
        marks = Marks(self.dialect)
        source, columns = _values(table, rows, marks)
        # The WHERE ends the SELECT: otherwise, SQLite would parse ON CONFLICT as the ON of a join.
        return self._put(table, f"{source}\nWHERE true", columns, marks, if_absent=if_absent)

    def put_new(self, table: Table[Any], rows: int) -> str:
        """Return the text that inserts this number of new rows, as `put` does; it returns no rows."""
        source, columns = _values(table, rows, Marks(self.dialect))
        return self._insertion(table, source, columns)[1]

    def put_values(self, table: Table[Any], values: Sequence[Any], *, if_absent: bool) -> Sequence[Any]:
        """Return the values of `put` after those of its rows: the present time, once per placeholder."""
        if table.expiry is None:
            return values
        return [*values, *[*self.dialect.moment_values(_NOW)] * (3 if if_absent else 2)]

    def _put(
        self,
        table: Table[Any],
        source: str,
        columns: Sequence[str],
        marks: Marks,
        *,
        if_absent: bool,
        sequence: str | None = None,
    ) -> str:
        """Return the text of `put` for a source of rows. A new one has the version 1, and the sequence, if given."""
        names, insertion = self._insertion(table, source, columns, sequence)

        def kept(name: str, stored: str) -> str:
            if table.expiry is None:
                return stored
            is_expired = f"{table.name}.{table.expiry} <= {self.dialect.from_now(_NOW, marks)}"
            return f"CASE WHEN {is_expired} THEN excluded.{name} ELSE {stored} END"

        # The columns that make up the id are equal; setting them would rewrite their index entries.
        equal = ("id", *(table.derived_id or ())[1:])
        written = [
            f"{name} = {kept(name, f'{table.name}.created_at')}"
            if name == "created_at"
            else f"{name} = {kept(name, f'{table.name}.version + 1')}"
            if name == "version"
            else f"{quoted(name)} = excluded.{quoted(name)}"
            for name in names
            if name not in equal
        ]
        changes = ",\n  ".join(written)
        if not if_absent:
            conflict = f"DO UPDATE SET\n  {changes}"
        elif table.expiry is None:
            conflict = "DO NOTHING"
        else:
            is_expired = f"{table.name}.{table.expiry} <= {self.dialect.from_now(_NOW, marks)}"
            conflict = f"DO UPDATE SET\n  {changes}\nWHERE {is_expired}"
        return f"{insertion}\nON CONFLICT (id) {conflict}\nRETURNING id, version, created_at"

    def _insertion(
        self, table: Table[Any], source: str, columns: Sequence[str], sequence: str | None = None
    ) -> tuple[Sequence[str], str]:
        """Return the names of the columns that `put` may replace, and the text that inserts the rows of a source."""
        new = ["1" if name == "version" else column for name, column in zip(table.names, columns, strict=True)]
        names = [*table.names]
        if table.is_followed:
            names, new = [*names, CHANGE_NUMBER], [*new, self.dialect.change_number(table)]
        into = names
        if sequence is not None:
            into, new = [*names, SEQUENCE], [*new, sequence]
        text = f"INSERT INTO {self.dialect.table(table)} ({listed(into)})\nSELECT {', '.join(new)}\nFROM {source}"
        return names, text

    def _now(self, marked: int) -> str:
        """Return the expression of the present time after this number of placeholders."""
        marks = Marks(self.dialect)
        for _ in range(marked):
            marks.next()
        return self.dialect.from_now(_NOW, marks)

    def replace(self, table: Table[Any], is_forced: bool, may_lose_sticky: bool) -> str:
        """Return the text that replaces a row; it marks `replace_values`."""
        marks = Marks(self.dialect)
        written = [
            "version = version + 1"
            if is_forced and name == "version"
            else f"{name} = {self._claims_after_replacing('', marks.next(), self.dialect.from_now(_NOW, marks))}"
            if name == PAST_CLAIMS
            else f"{quoted(name)} = {self._raised(table, name, name, marks.next())}"
            for name in table.names
            if name != "id"
        ]
        conditions = [f"id = {marks.next()}"]
        if table.is_versioned and not is_forced:
            conditions.append(f"version = {marks.next()}")
        if table.sticky is not None and not may_lose_sticky:
            conditions.append(self._sticky(table, "", marks.next()))
        if table.expiry is not None:
            conditions.append(f"({table.expiry} IS NULL OR {table.expiry} > {self.dialect.from_now(_NOW, marks)})")
        returned = "version" if table.is_versioned else "0"
        return f"{self._set(table, written)}\nWHERE {' AND '.join(conditions)}\nRETURNING {returned}"

    def replace_values(
        self, table: Table[Any], values: tuple[ColumnValue, ...], is_forced: bool, may_lose_sticky: bool
    ) -> list[ColumnValue]:
        """Return the values of `replace`: the columns, the id, the expected version, and what the conditions need."""
        written: list[Any] = [*values]
        if table.has_claims:
            # In place of the list: the new agent and the present time tell whether the claim ends, and when.
            is_pending = values[table.positions["status"]] == TaskStatus.PENDING
            agent = None if is_pending else values[table.positions["assigned_to"]]
            ended = [agent, *self.dialect.moment_values(_NOW)]
            place = table.positions[PAST_CLAIMS]
            written[place : place + 1] = ended
        sticky = [] if table.sticky is None or may_lose_sticky else [values[table.positions[table.sticky[0]]]]
        if table.expiry is not None:
            sticky += self.dialect.moment_values(_NOW)
        identity, *others = written
        if not table.is_versioned:
            return [*others, identity, *sticky]
        place = table.positions["version"] - 1
        if is_forced:
            return [*others[:place], *others[place + 1 :], identity, *sticky]
        return [*others, identity, others[place] - 1, *sticky]

    def update(self, query: Query[Any], changes: Mapping[str, Change]) -> Compiled:
        """Return the text that changes a query's rows."""
        is_limited = query.limit is not None
        shape = self._shape(query) if is_limited else self._conditions_shape(query)
        key = ("update", query.table.name, is_limited, shape, changes_shape(changes))
        text = self._texts.get(key)
        if text is None:
            marks = Marks(self.dialect)
            text = self._change(query.table, changes, marks) + self._where(query, marks)
            if is_limited:
                # Repeat the conditions, so that a row that was changed after it was chosen is checked again.
                and_also = " AND" if query.conditions else "\nWHERE"
                text = f"{text}{and_also} {SEQUENCE} IN (\n  {self._first(query, marks)}\n)"
            self._texts[key] = text
        values = [*self._change_values(changes), *self.dialect.values(query.table, query.conditions)]
        return text, [*values, *self._values(query)] if is_limited else values

    def claim(self, step: Claim[Any]) -> Compiled:
        """Return the text of a claim, which gives the changed rows in any order, or their fields."""
        query, changes, unless = step.query, step.changes, step.unless
        if query.limit == 1 and any(field == "id" and operator == "=" for field, operator, _ in query.conditions):
            return self._claim_by_id(step)
        branches = split_for_merge(query)
        # One row is found faster by `=` than by `IN`.
        key = (
            "claim",
            self._shape(query),
            query.limit == 1,
            branches and tuple(map(self._shape, branches)),
            changes_shape(changes),
            unless,
        )
        text = self._texts.get(key)
        if text is None:
            marks = Marks(self.dialect)
            change = self._change(query.table, changes, marks)
            chosen = self._first(query, marks) if branches is None else self._first_of_all(query, branches, marks)
            operator = "=" if query.limit == 1 else "IN"
            guards = "".join(f"\nAND {guard}" for guard in self._guards(unless, marks))
            text = f"{change}\nWHERE {SEQUENCE} {operator} (\n  {chosen}\n){guards}\n{_returning(query.table)}"
            self._texts[key] = text
        values = self._change_values(changes)
        for each in branches or (query,):
            values += self._values(each)
        if branches is not None:
            values.append(query.limit)
        return text, values

    def _claim_by_id(self, step: Claim[Any]) -> Compiled:
        """Return the text that changes and returns the one row that the query can match."""
        query, changes, unless, fields = step.query, step.changes, step.unless, step.fields
        key = ("claim by id", query.table.name, self._conditions_shape(query), changes_shape(changes), unless, fields)
        text = self._texts.get(key)
        if text is None:
            marks = Marks(self.dialect)
            change = self._change(query.table, changes, marks) + self._where(query, marks)
            guards = "".join(f"\nAND {guard}" for guard in self._guards(unless, marks))
            returned = f"RETURNING {listed(fields)}" if fields else _returning(query.table)
            text = self._texts[key] = f"{change}{guards}\n{returned}"
        return text, [*self._change_values(changes), *self.dialect.values(query.table, query.conditions)]

    def _guards(self, unless: Sequence[Query[Any]], marks: Marks) -> list[str]:
        """Return the conditions that no row matches these queries."""
        return [f"NOT EXISTS ({self._exists_query(query, marks)})" for query in unless]

    def take(self, query: Query[Any]) -> Compiled:
        """Return the text that deletes the rows that fulfil a query's conditions, and gives them."""
        text, values = self.delete(query)
        return f"{text}\n{_returning(query.table)}", values

    def delete(self, query: Query[Any]) -> Compiled:
        """Return the text that deletes the rows that fulfil a query's conditions."""
        key = ("delete", query.table.name, self._conditions_shape(query))
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = (
                f"DELETE FROM {self.dialect.table(query.table)}{self._where(query, Marks(self.dialect))}"
            )
        return text, self.dialect.values(query.table, query.conditions)

    def _sticky(self, table: Table[Any], prefix: str, new: str) -> str:
        """Return the condition that a row keeps its sticky value."""
        assert table.sticky is not None
        field, value = table.sticky
        literal = self.dialect.literal(table.column(field), value)
        return f"({prefix}{field} <> {literal} OR {new} = {literal})"

    def _raised(self, table: Table[Any], name: str, old: str, new: str) -> str:
        """Return the expression of a column's new value."""
        return self.dialect.higher(old, new) if name in table.monotonic else new

    def _claims_after_replacing(self, prefix: str, agent: str, now: str) -> str:
        """Return the expression of a row's past claims after it is replaced by one that `agent` holds, if any."""
        held, status, error = (f"{prefix}{name}" for name in ("assigned_to", "status", "error"))
        is_held = f"{status} IN ({', '.join(repr(each.value) for each in HELD)})"
        outcome = f"CASE WHEN {is_held} THEN '{ClaimOutcome.RELEASED}' ELSE {status} END"
        failure = f"CASE WHEN {status} = '{TaskStatus.FAILED}' THEN substr({error}, 1, {LONGEST_ERROR}) END"
        ended_at = self.dialect.microseconds(f"coalesce({prefix}completed_at, {now})")
        longer = self._with_claim(prefix, ended_at, outcome, failure)
        stays = f"{held} IS NULL OR {held} = {agent} OR {status} = '{TaskStatus.PENDING}'"
        return f"CASE WHEN {stays} THEN {prefix}{PAST_CLAIMS} ELSE {longer} END"

    def _with_claim(self, prefix: str, ended_at: str, outcome: str, error: str) -> str:
        """Return the expression of the past claims of a row, its own claim included."""
        started_at = self.dialect.microseconds(f"{prefix}started_at")
        claim = (f"{prefix}claim_count", f"{prefix}assigned_to", started_at, ended_at, outcome, error)
        return self.dialect.appended(f"{prefix}{PAST_CLAIMS}", claim, MOST_PAST_CLAIMS)

    def _first(self, query: Query[Any], marks: Marks) -> str:
        clauses = [f"SELECT {SEQUENCE}", *self._from(query, marks), *self._order_and_bounds(query, marks)]
        return "\n  ".join(clauses)

    def _first_of_all(self, query: Query[Any], branches: list[Query[Any]], marks: Marks) -> str:
        """Return the text that gives the first rows of several queries, each of which an index serves."""
        ordering = listed(term.field for term in query.full_order)
        union = self._union(branches, f"SELECT {ordering}", marks)
        order = ", ".join(self.dialect.order(term) for term in query.full_order)
        limit = self.dialect.limit(marks.next())
        return f"SELECT {SEQUENCE} FROM (\n{union}\n  )\n  ORDER BY {order}\n  {limit}"

    def _change(self, table: Table[Any], changes: Mapping[str, Change], marks: Marks) -> str:
        written = [self._written(table, name, change, marks) for name, change in changes.items()]
        # Followers see no hidden columns, so a change of those alone does not concern them.
        return self._set(table, written, is_marked=any(name in table.names for name in changes))

    def _written(self, table: Table[Any], name: str, change: Change, marks: Marks) -> str:
        match change:
            case Increment():
                return f"{quoted(name)} = {quoted(name)} + {change.by}"
            case FromNow():
                return f"{name} = {self.dialect.from_now(change, marks)}"
            case CountOf():
                other, its_name = change.table, self.dialect.table(change.table)
                return f"{name} = (SELECT count(*) FROM {its_name} WHERE {other.name}.{change.field} = {table.name}.id)"
            case EndClaim():
                ended_at = self.dialect.microseconds(self.dialect.from_now(_NOW, marks))
                longer = self._with_claim("", ended_at, f"'{change.outcome}'", self.dialect.text_mark(marks))
                return f"{name} = CASE WHEN assigned_to IS NULL THEN {name} ELSE {longer} END"
        return f"{quoted(name)} = {marks.next()}"

    def _set(self, table: Table[Any], written: list[str], *, is_marked: bool = True) -> str:
        lines = ",\n  ".join((*written, *(self._marked(table) if is_marked else [])))
        return f"UPDATE {self.dialect.table(table)}\nSET\n  {lines}"

    def _marked(self, table: Table[Any]) -> list[str]:
        return [f"{CHANGE_NUMBER} = {self.dialect.change_number(table)}"] if table.is_followed else []

    def _change_values(self, changes: Mapping[str, Change]) -> list[ColumnValue]:
        values: list[Any] = []
        for change in changes.values():
            if change.__class__ in _PLAIN:
                values.append(change)
            elif isinstance(change, FromNow):
                values += self.dialect.moment_values(change)
            elif isinstance(change, EndClaim):
                values += (*self.dialect.moment_values(_NOW), change.error)
            elif not isinstance(change, Increment | CountOf):
                values.append(change)
        return values


def _values(table: Table[Any], rows: int, marks: Marks) -> tuple[str, list[str]]:
    """Return a VALUES source of this number of rows, with placeholders, and the names of its columns."""
    # Without spaces: a driver keeps no text prepared that is too long.
    values = ",".join(f"({','.join(marks.next() for _ in table.names)})" for _ in range(rows))
    return f"(VALUES {values})", [f"column{place}" for place in range(1, len(table.names) + 1)]


def restored_names(table: Table[Any], keeps_sequence: bool) -> list[str]:
    """Return the columns that a restored row brings along."""
    brought = [name for name in table.stored_names if name != CHANGE_NUMBER]
    return [*brought, SEQUENCE] if keeps_sequence else brought


def restored_values(table: Table[Any], rows: Sequence[Row], keeps_sequence: bool) -> list[Row]:
    """Return what the columns of `restored_names` hold in rows."""
    places = [table.positions[name] for name in restored_names(table, keeps_sequence)]
    return [[row[place] for place in places] for row in rows]


def _returning(table: Table[Any]) -> str:
    return f"RETURNING {listed((*table.stored_names, SEQUENCE))}"


def changes_shape(changes: Mapping[str, Change]) -> object:
    return tuple([(name, _change_shape(change)) for name, change in changes.items()])


def _change_shape(change: Change) -> object:
    if change.__class__ in _PLAIN:
        return None
    match change:
        case Increment():
            return change.by
        case FromNow():
            return moment_shape(change)
        case CountOf():
            return change.table.name, change.field
        case EndClaim():
            return change.outcome
    return None


_PLAIN = frozenset((str, int, float, bytes, type(None)))
_NOW = FromNow()
_NEW_AGENT = f"CASE WHEN excluded.status <> '{TaskStatus.PENDING}' THEN excluded.assigned_to END"
"""The agent that holds a row, or has ended it, after it is replaced."""

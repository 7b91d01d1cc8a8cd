"""Statements that run others, or don't: the steps of one write that depend on each other."""

from collections.abc import Iterator, Sequence
from typing import Any

import apsw

from swarm_persistence.engines.sql.sqlite.operations import Part
from swarm_persistence.engines.sql.sqlite.statements import InsertStatement, Statement, UpkeepStatement, insert_rows


class WhenStatement:
    """Runs the first of its parameters, which are parts, and the others if that did something; gives its result."""

    can_fail_after_change = True
    is_short = False
    table_name = ""

    def run(self, cursor: apsw.Cursor, parameters: Any) -> Any:
        """Run the parts."""
        (first, values), *others = parameters
        result = first.run(cursor, values)
        if result:
            run_parts(cursor, others, {})
        return result


class UnlessStatement:
    """Runs its parameters, which are parts, if the first of them gives nothing; gives the results of the others."""

    can_fail_after_change = True
    is_short = False
    table_name = ""

    def run(self, cursor: apsw.Cursor, parameters: Any) -> list[Any] | None:
        """Run the parts."""
        (first, values), *others = parameters
        return run_parts(cursor, others, {}) if first.run(cursor, values) is None else None


class NothingStatement:
    """Does nothing, where others must wait for each other and SQLite's one writer need not."""

    can_fail_after_change = False
    is_short = False
    table_name = ""

    def run(self, cursor: apsw.Cursor, parameters: Any) -> None:
        """Do nothing."""


WHEN: Statement = WhenStatement()
UNLESS: Statement = UnlessStatement()
NOTHING: Statement = NothingStatement()


Done = dict[Statement, Any]
"""The results of the upkeep that a transaction has done."""


def run_parts(cursor: apsw.Cursor, parts: Sequence[Part], done: Done) -> list[Any]:
    """Run parts one after the other, inserts that stand next in few statements; return the result of each.

    Upkeep that is done is not repeated.
    """
    results: list[Any] = []
    position = 0
    while position < len(parts):
        statement, parameters = parts[position]
        end = position + 1
        if isinstance(statement, InsertStatement):
            while end < len(parts) and parts[end][0] is statement:
                end += 1
            for outcome in insert_rows(cursor, statement, [row for _, row in parts[position:end]]):
                if isinstance(outcome, BaseException):
                    raise outcome
                results.append(outcome)
        elif isinstance(statement, UpkeepStatement):
            if statement not in done:
                done[statement] = statement.run(cursor, parameters)
            results.append(done[statement])
        else:
            results.append(statement.run(cursor, parameters))
        position = end
    return results


def tables_changed(part: Part, result: Any) -> Iterator[str]:
    """Yield the names of the tables that a part may have changed."""
    if not result:
        return
    statement, parameters = part
    if statement is WHEN or statement is UNLESS:
        for inner in parameters:
            yield from tables_changed(inner, True)  # type: ignore[arg-type]
    elif statement.table_name:
        yield statement.table_name

"""A prepared write compiles to the statements that its steps compile to one by one."""

from collections.abc import Sequence
from typing import Any

import pytest

from swarm_persistence.engines.prepared import BoundSteps, PreparedWrite
from swarm_persistence.engines.sql.sqlite.statement_compiler import SqliteStatementCompiler
from swarm_persistence.engines.sql.statements import IfChangedStatement, Statement, TextStatement
from swarm_persistence.query.query import FromNow
from swarm_persistence.storage import claim_requests, dependencies, leases

WRITES: list[tuple[PreparedWrite, tuple[Any, ...]]] = [
    (claim_requests.claiming_by_id, ("t1", "a1", FromNow(60.0))),
    (claim_requests.claiming_by_id, ("t1", "a1", None)),
    (claim_requests.claiming_ready(None, 1, False), ("a1", FromNow(60.0))),
    (claim_requests.claiming_ready(None, 1, True), ("a1", FromNow(60.0))),
    (claim_requests.claiming_ready(("x",), 1, False), ("a1", FromNow(60.0))),
    (claim_requests.claiming_ready(("x", "y"), 3, False), ("a1", FromNow(60.0))),
    (leases.completion, ("t1", "a1", 3, None)),
    (leases.completion, ("t1", "a1", 3, '{"sum":3}')),
    (leases._extension, ("t1", "a1", 3, FromNow(60.0))),
    (leases._extension_while_running, ("t1", "a1", 3, FromNow(60.0))),
    (leases._release, ("t1", "a1", 3)),
    (leases._delayed_release, ("t1", "a1", 3, FromNow(5.0))),
    (dependencies._without_dependencies, ("t1", 1, 0)),
]


def _shown(statements: Sequence[Statement]) -> list[object]:
    shown: list[object] = []
    for statement in statements:
        if isinstance(statement, IfChangedStatement):
            shown.append([_shown([*statement.first]), _shown([*statement.then])])
        else:
            assert isinstance(statement, TextStatement)
            shown.append((type(statement), statement.text, [*statement.values]))
    return shown


@pytest.mark.parametrize(("write", "values"), WRITES)
def test_bound_statements_are_those_of_the_steps(write: PreparedWrite, values: tuple[Any, ...]) -> None:
    compiler = SqliteStatementCompiler()
    steps = BoundSteps(write, *values)

    for _ in range(2):
        assert _shown(compiler.write(steps)) == _shown(compiler.write([*steps]))


def test_the_values_of_one_call_do_not_show_in_the_next() -> None:
    compiler = SqliteStatementCompiler()
    first = compiler.write(BoundSteps(leases._release, "t1", "a1", 1))
    second = compiler.write(BoundSteps(leases._release, "t2", "a2", 2))

    assert _shown(first) == _shown(compiler.write([*BoundSteps(leases._release, "t1", "a1", 1)]))
    assert _shown(second) == _shown(compiler.write([*BoundSteps(leases._release, "t2", "a2", 2)]))

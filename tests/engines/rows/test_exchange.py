"""The generator that evaluates on fetched rows, driven by hand: what it asks for, and what becomes of the answers."""

from collections.abc import Generator
from typing import Any

import msgspec
import pytest

from swarm_persistence.clock import now
from swarm_persistence.engines.rows.changes import Changes
from swarm_persistence.engines.rows.evaluator import rows_of
from swarm_persistence.engines.rows.indexeddb.exchange import evaluated
from swarm_persistence.engines.rows.indexeddb.view import DatabaseView
from swarm_persistence.engines.rows.overlays import Overlays
from swarm_persistence.engines.rows.steps import compile_steps
from swarm_persistence.engines.steps import MOST_COUNTED, Unlink
from swarm_persistence.errors import ConflictError
from swarm_persistence.models import AgentModel
from swarm_persistence.models.links import TaskLink
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.schema.codec import Row, codec_of
from swarm_persistence.schema.tables import AGENTS, TASK_LINKS, TASKS, UNMET_DEPENDENCIES

EVERY_AGENT = Query(AGENTS)


def row(id: str, sequence: int) -> Row:
    values: list[Any] = [*codec_of(AgentModel).encode(AgentModel(id=id, name=id, agent_type="t"))]
    return (*values, sequence)


def text(*answers: Any) -> str:
    return msgspec.json.encode(answers).decode()


def requests_of(message: str) -> list[list[Any]]:
    requests: list[list[Any]] = msgspec.json.decode(message)["fetch"]
    return requests


def result_of(exchange: Generator[str, str, Any], answer: str) -> Any:
    """Send the last answer, and return the result."""
    with pytest.raises(StopIteration) as end:
        exchange.send(answer)
    return end.value.value


def test_what_is_missing_is_fetched_and_the_run_repeated() -> None:
    view, runs = DatabaseView(), []

    def evaluate() -> tuple[Any, Any]:
        runs.append(now())
        return view.table(AGENTS).get("a"), view.table(AGENTS).get("b")

    exchange = evaluated(view, evaluate)

    assert requests_of(next(exchange)) == [["get", "agents", ["a", "b"]]]
    stored, missing = result_of(exchange, text([row("a", 1), None]))
    assert (stored[-1], missing) == (1, None)
    assert len(runs) == 2
    assert runs[0] == runs[1], "the time must stand still"


def test_what_is_known_beforehand_is_fetched_before_the_first_run() -> None:
    view, runs = DatabaseView(), list[int]()
    view.want_state()
    view.table(AGENTS).want("a")

    exchange = evaluated(view, lambda: runs.append(view.table(AGENTS).last_sequence))

    assert requests_of(next(exchange)) == [["get", "agents", ["a"]], ["get", "meta", ["state"]]]
    result_of(exchange, text([None], [[3, {"agents": [7, 0]}]]))
    assert runs == [7]


def test_an_error_counts_only_if_no_row_was_missing() -> None:
    view = DatabaseView()

    def insert() -> None:
        if view.table(AGENTS).get("a") is None:
            raise ConflictError("raised without the row, and with it if it is not stored")

    found = evaluated(view, insert)
    next(found)
    assert result_of(found, text([row("a", 1)])) is None

    view = DatabaseView()
    refused = evaluated(view, insert)
    next(refused)
    with pytest.raises(ConflictError):
        refused.send(text([None]))


def test_two_that_ask_for_the_same_rows_do_not_get_them_twice() -> None:
    view = DatabaseView()
    first, second = (evaluated(view, lambda: rows_of(view.table(AGENTS), EVERY_AGENT)) for _ in range(2))
    next(first)
    next(second)
    answer = text([row("a", 1), row("b", 2)])

    assert [each[-1] for each in result_of(first, answer)] == [1, 2]
    assert [each[-1] for each in result_of(second, answer)] == [1, 2]


def test_what_a_cancelled_caller_did_not_receive_is_asked_for_again() -> None:
    view = DatabaseView()
    cancelled, following = (evaluated(view, lambda: view.table(AGENTS).get("a")) for _ in range(2))
    message = next(cancelled)

    cancelled.close()

    assert next(following) == message
    assert result_of(following, text([row("a", 1)]))[-1] == 1


def test_a_row_with_many_links_is_not_fetched_when_one_of_them_goes() -> None:
    view = DatabaseView()
    links: list[Row] = [(*codec_of(TaskLink).encode(TaskLink.between("t", f"{n}")), n) for n in range(MOST_COUNTED + 2)]
    of_one = Query(TASK_LINKS, (Condition("dependency_id", "=", "3"),))
    steps = compile_steps([Unlink(of_one, "task_id", TASKS, UNMET_DEPENDENCIES)])
    exchange = evaluated(view, lambda: Changes(Overlays(view.table).table).run(steps))

    ((_, store, index, *_),) = requests_of(next(exchange))
    assert (store, index) == ("task_links", "task_links_by_dependency")
    ((_, store, index, *_),) = requests_of(exchange.send(text([links[3]])))
    assert (store, index) == ("task_links", "task_links_by_task")
    assert result_of(exchange, text(links)) == [1]

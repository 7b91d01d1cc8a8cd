"""What a worker cannot be made of is refused, with an error that names it."""

from typing import Any

import pytest

from swarm_persistence import BlockingStorage, InvalidQueryError, MemoryStorage, SerializationError, Worker
from swarm_persistence_conformance.records import a_task, an_agent

STORAGE = MemoryStorage()
HANDLERS = {"work": lambda task: task}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"storage": BlockingStorage(STORAGE)}, "storage is BlockingMemoryStorage"),
        ({"agent": a_task()}, "agent is TaskModel"),
        ({"handlers": {}}, "handlers is {}, expected a dict"),
        ({"handlers": [len]}, "handlers is "),
        ({"handlers": {"work": "work"}}, r"handlers\['work'\] is 'work', expected a function"),
        ({"handlers": {"work": lambda: None}}, r"handlers\['work'\] is .* which takes \(\); expected \(task\) or"),
        ({"handlers": {"work": lambda a, b, c: None}}, r"which takes \(a, b, c\); expected \(task\) or"),
        ({"concurrency": 0}, "concurrency is 0, expected a whole number above 0"),
        ({"concurrency": True}, "concurrency is True"),
        ({"concurrency": 1.5}, "concurrency is 1.5"),
        ({"lease": 0}, "lease is 0, expected seconds or a timedelta, above 0"),
        ({"task_timeout": -1}, "task_timeout is -1"),
        ({"drain_timeout": -1}, "drain_timeout is -1, expected seconds or a timedelta, 0 or more"),
        ({"heartbeat_timeout": float("nan")}, "heartbeat_timeout is nan"),
    ],
)
def test_an_argument_without_sense_is_named(arguments: dict[str, Any], line: str) -> None:
    given: dict[str, Any] = {"storage": STORAGE, "agent": an_agent(), "handlers": HANDLERS, **arguments}
    with pytest.raises(InvalidQueryError, match=line):
        Worker(**given)


def test_a_task_type_that_is_no_text_is_named() -> None:
    handlers: Any = {7: len}
    with pytest.raises(SerializationError, match="handlers: task type"):
        Worker(STORAGE, an_agent(), handlers)


async def test_it_is_done_with_at_once_where_nothing_is_to_do() -> None:
    async with Worker(STORAGE, an_agent(), {"work": print}) as worker:
        assert worker.stopped_by is None
    assert worker.outcomes == {}

"""The judge of trials sees each kind of harm, and nothing where there is none."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from chaos.history import History
from swarm_persistence import EventModel, TaskModel, TaskStatus

_FACTS = tuple(name for name in vars(History) if name.startswith("require_"))


def an_event(sequence: int, event_type: str, task: str, claim: int | None, incarnation: str = "a.1") -> EventModel:
    data = {"task": task, "incarnation": incarnation, **({} if claim is None else {"claim": claim})}
    return EventModel(event_type=event_type, agent_id="a", data=data, sequence=sequence)


def sound_events() -> list[EventModel]:
    return [
        an_event(1, "started", "first", 1),
        an_event(2, "completed", "first", 1),
        an_event(3, "started", "second", 1),
        an_event(4, "requeued", "second", None),
        an_event(5, "started", "second", 2, "a.2"),
        an_event(6, "failed", "second", 2, "a.2"),
        an_event(7, "started", "second", 3, "a.2"),
        an_event(8, "lost", "second", 1),
        an_event(9, "completed", "second", 3, "a.2"),
    ]


def sound_tasks() -> list[TaskModel]:
    done: dict[str, Any] = {"task_type": "sum", "status": TaskStatus.COMPLETED, "assigned_to": "a"}
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    done |= {"created_at": moment, "updated_at": moment}
    return [
        TaskModel(id="first", claim_count=1, result={"claim": 1, "incarnation": "a.1"}, **done),
        TaskModel(
            id="second",
            claim_count=3,
            retry_count=2,
            dependencies=["first"],
            result={"claim": 3, "incarnation": "a.2"},
            **done,
        ),
    ]


def broken_facts(events: list[EventModel], tasks: list[TaskModel]) -> list[str]:
    history = History(events, tasks)
    broken = []
    for fact in _FACTS:
        try:
            getattr(history, fact)()
        except AssertionError:
            broken.append(fact)
    return broken


def test_a_sound_history_passes() -> None:
    assert broken_facts(sound_events(), sound_tasks()) == []


def complete_twice(events: list[EventModel], tasks: list[TaskModel]) -> None:
    events.append(an_event(10, "completed", "first", 1))


def complete_without_holding(events: list[EventModel], tasks: list[TaskModel]) -> None:
    events[8] = an_event(9, "completed", "second", 1)


def end_what_another_began(events: list[EventModel], tasks: list[TaskModel]) -> None:
    events[5] = an_event(6, "failed", "second", 2, "a.1")


def start_too_early(events: list[EventModel], tasks: list[TaskModel]) -> None:
    events.insert(0, an_event(0, "started", "second", 0))


def give_back_twice(events: list[EventModel], tasks: list[TaskModel]) -> None:
    tasks[1].retry_count += 1


def leave_one_undone(events: list[EventModel], tasks: list[TaskModel]) -> None:
    tasks[1].status = TaskStatus.PENDING


def repeat_a_sequence(events: list[EventModel], tasks: list[TaskModel]) -> None:
    events[3].sequence = 3


@pytest.mark.parametrize(
    ("harm", "broken"),
    [
        (complete_twice, "require_one_completion_each_by_the_holder"),
        (complete_without_holding, "require_claims_one_after_the_other"),
        (end_what_another_began, "require_claims_one_after_the_other"),
        (start_too_early, "require_dependencies_first"),
        (give_back_twice, "require_every_claim_ended_once"),
        (leave_one_undone, "require_all_completed"),
        (repeat_a_sequence, "require_the_log_in_order"),
    ],
)
def test_each_harm_is_seen(harm: Callable[[list[EventModel], list[TaskModel]], None], broken: str) -> None:
    events, tasks = sound_events(), sound_tasks()

    harm(events, tasks)

    assert broken in broken_facts(events, tasks)

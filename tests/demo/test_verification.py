"""The check must find every kind of mistake."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from swarm_persistence import MemoryStorage, Storage, TaskStatus
from swarm_persistence.demo.coordinator import Coordinator
from swarm_persistence.demo.fleet import Fleet
from swarm_persistence.demo.library import Module, find_modules
from swarm_persistence.demo.plan import TaskPlan, make_plan
from swarm_persistence.demo.records import Records, read_records
from swarm_persistence.demo.stopping import Stopping
from swarm_persistence.demo.totals import Totals
from swarm_persistence.demo.verification import count_plainly, find_differences
from swarm_persistence.demo.vocabulary import WORKER, WORKER_KILLED
from swarm_persistence.demo.worker import DemoWorker
from swarm_persistence.models import AgentModel, EventModel

SOURCES = {
    "abc.py": "import os\ndef f():\n    return 1 if f else 2\n",
    "json/__init__.py": "import re, os\nclass A:\n    def g(self): pass\n",
    "json/broken.py": "print 'python 2'\n",
}


class Done(msgspec.Struct):
    """A run that is finished, and the plain count of the same files."""

    plan: TaskPlan
    records: Records
    counted: Totals


@pytest.fixture
async def storage() -> AsyncIterator[Storage]:
    async with MemoryStorage() as storage:
        yield storage


@pytest.fixture
def modules(tmp_path: Path) -> list[Module]:
    for name, source in SOURCES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
    return find_modules(str(tmp_path))


@pytest.fixture
async def done(storage: Storage, modules: list[Module]) -> Done:
    plan = make_plan(modules)
    stopping = Stopping()

    def stop_when_done(done: int) -> None:
        if done == len(plan.tasks):
            stopping.request()

    coordinator = Coordinator(storage, plan, Fleet("unused"), stopping, stop_when_done)
    await coordinator.prepare()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(DemoWorker(storage, AgentModel.new("worker-1", WORKER), stopping).run())
        while not coordinator.is_finished:
            await asyncio.sleep(0.01)
            await coordinator._read_messages()
    counted = count_plainly(modules, lambda _done: True)
    assert counted is not None
    return Done(plan, await read_records(storage, plan), counted)


def test_a_sound_run_has_no_differences(done: Done) -> None:
    assert find_differences(done.plan, done.records, done.counted) == []
    assert (done.counted.modules, done.counted.unparsed, done.counted.lines) == (3, 1, 7)
    assert done.counted.imports == {"os": 2, "re": 1}


@pytest.mark.parametrize("field", Totals.__struct_fields__)
def test_each_total_is_compared(done: Done, field: str) -> None:
    value = getattr(done.counted, field)
    nothing: dict[str, object] = {"longest_function": None, "imports": {}, "most_complex": []}
    falsified = nothing[field] if field in nothing else value + 1
    setattr(done.counted, field, falsified)
    (difference,) = find_differences(done.plan, done.records, done.counted)
    assert difference.startswith(f"{field}: the swarm has")


def _drop_completion(records: Records) -> None:
    records.completions.pop()


def _repeat_completion(records: Records) -> None:
    records.completions.append(records.completions[0])


def _drop_duration(records: Records) -> None:
    records.durations.pop()


def _repeat_finding(records: Records) -> None:
    records.findings.append(records.findings[0])


def _leave_a_finding_unread(records: Records) -> None:
    records.findings[0].read = False


def _lose_a_task(records: Records) -> None:
    del records.tasks[records.completions[0].data["task_id"]]


def _leave_a_task_running(records: Records) -> None:
    records.tasks[records.completions[0].data["task_id"]].status = TaskStatus.RUNNING


def _lose_a_result(records: Records) -> None:
    records.tasks[records.completions[0].data["task_id"]].result = None


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_drop_completion, "has 0 completion events"),
        (_repeat_completion, "has 2 completion events"),
        (_drop_duration, "has 0 durations"),
        (_repeat_finding, "has 2 findings"),
        (_leave_a_finding_unread, "has not read 1 finding"),
        (_lose_a_task, "is not stored"),
        (_leave_a_task_running, "is running, not completed"),
        (_lose_a_result, "not completed with a result"),
    ],
)
def test_each_spoiled_record_is_found(done: Done, spoil: Callable[[Records], None], said: str) -> None:
    spoil(done.records)
    differences = find_differences(done.plan, done.records, done.counted)
    assert len(differences) == 1
    assert said in differences[0]


def test_tasks_taken_over_are_counted_and_one_that_a_dead_worker_completed_is_found(done: Done) -> None:
    completion = done.records.completions[0]
    told = {"run": "r", "worker": "killed", "tasks": [completion.data["task_id"], "of another plan"]}
    done.records.kills = [EventModel.new(WORKER_KILLED, told)]
    assert done.records.taken_over == 1
    assert find_differences(done.plan, done.records, done.counted) == []
    completion.agent_id = "killed"
    assert done.records.taken_over == 0
    (difference,) = find_differences(done.plan, done.records, done.counted)
    assert "was completed by the worker that was killed" in difference


def test_a_missing_report_is_found(done: Done) -> None:
    done.records.report = None
    assert find_differences(done.plan, done.records, done.counted) == ["the final report was not written"]


def test_a_plain_count_can_be_stopped(modules: list[Module]) -> None:
    assert count_plainly(modules, lambda done: done < 2) is None

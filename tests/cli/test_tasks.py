"""`swarm-persistence tasks`: what an operator sees of tasks, and does with them."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from swarm_persistence import AgentModel, BlockingStorage, TaskModel, TaskPriority, TaskStatus, open_storage
from swarm_persistence.cli.main import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "swarm.db"


@pytest.fixture
def storage(path: Path) -> Iterator[BlockingStorage]:
    """Return a storage that stays open beside the commands, as a swarm's would."""
    with open_storage(path) as opened:
        yield opened


@pytest.fixture
def run(path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(action: str, *arguments: str) -> tuple[int, str, str]:
        code = main(["tasks", action, str(path), *arguments])
        return code, *capsys.readouterr()

    return call


def lines(output: str) -> list[Any]:
    """Return the JSON objects of an output, one a line."""
    return [json.loads(line) for line in output.splitlines()]


def listed(run: Run, *arguments: str) -> list[str]:
    """Return the ids of a list of tasks."""
    code, output, _ = run("list", "--json", *arguments)
    assert code == 0
    return [task["id"] for task in lines(output)]


def a_task(id: str, task_type: str = "sum", **fields: Any) -> TaskModel:
    return TaskModel(id=id, task_type=task_type, **fields)


class TestList:
    def test_each_line_is_a_task_with_every_field(self, storage: BlockingStorage, run: Run) -> None:
        payload = {"text": "a\nb ü \x1b[31m", "number": 2**80}
        storage.store_task(a_task("t-1", payload=payload, dependencies=["t-0"]))

        _, output, _ = run("list", "--json")

        (task,) = lines(output)
        assert set(task) == set(TaskModel.__struct_fields__)
        assert (task["payload"], task["status"], task["priority"]) == (payload, "pending", "medium")

    def test_pages_follow_each_other_by_the_last_id_while_tasks_are_added(
        self, storage: BlockingStorage, run: Run
    ) -> None:
        storage.store_tasks([a_task(f"t-{number:02}") for number in range(10)])

        first = listed(run, "--limit", "4")
        storage.store_task(a_task("t-99"))
        second = listed(run, "--limit", "4", "--after", first[-1])
        third = listed(run, "--limit", "4", "--after", second[-1])

        assert first + second + third == [f"t-{number:02}" for number in range(9, -1, -1)]

    def test_status_type_and_agent_filter(self, storage: BlockingStorage, run: Run) -> None:
        storage.store_tasks([a_task("1"), a_task("2", "read"), a_task("3", "write"), a_task("4")])
        storage.store_agent(AgentModel(id="agent-1", name="agent-1", agent_type="worker"))
        assert storage.claim_task("2", "agent-1")
        storage.cancel_task("3")

        assert listed(run, "--status", "pending") == ["4", "1"]
        assert listed(run, "--status", "cancelled", "--status", "assigned") == ["3", "2"]
        assert listed(run, "--type", "read", "--type", "write") == ["3", "2"]
        assert listed(run, "--agent", "agent-1") == ["2"]
        assert listed(run, "--type", "read", "--status", "pending") == []

    def test_the_table_shows_texts_as_they_are_and_the_way_to_the_next_page(
        self, storage: BlockingStorage, run: Run
    ) -> None:
        storage.store_tasks([a_task("t-1"), a_task("t-2", "[bold]x[/bold]"), a_task("t-3", "\x1b[31mred")])

        _, output, _ = run("list", "--limit", "2")

        rows = [line.split() for line in output.splitlines()]
        assert any(row[:4] == ["t-2", "[bold]x[/bold]", "pending", "medium"] for row in rows)
        assert "\x1b" not in output
        assert "more: --after t-2" in output

    def test_without_tasks_it_says_so(self, storage: BlockingStorage, run: Run) -> None:
        assert run("list") == (0, "no tasks\n", "")
        assert run("list", "--json") == (0, "", "")

    def test_an_unknown_status_is_refused_with_the_known_ones(
        self, storage: BlockingStorage, run: Run, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit, match=r"^2$"):
            run("list", "--status", "asleep")
        assert "pending" in capsys.readouterr().err


class TestShow:
    def test_every_field_that_has_a_value_is_shown(self, storage: BlockingStorage, run: Run) -> None:
        storage.store_task(a_task("t-1", payload={"rows": [1, 2]}))

        code, output, _ = run("show", "t-1")

        assert code == 0
        assert {"id: t-1", "task_type: sum", "status: pending", 'payload: {"rows": [1, 2]}'} <= {*output.splitlines()}

    def test_what_blocks_a_task_is_told(self, storage: BlockingStorage, run: Run) -> None:
        storage.store_tasks([a_task("done"), a_task("open"), a_task("last", dependencies=["done", "open", "typo"])])
        storage.store_agent(AgentModel(id="agent-1", name="agent-1", agent_type="worker"))
        storage.claim_task("done", "agent-1")
        done = storage.get_task("done")
        assert done is not None
        storage.complete_task(done)

        _, output, _ = run("show", "last")
        _, as_json, _ = run("show", "last", "--json")

        assert [line for line in output.splitlines() if line.startswith("waits for ")] == [
            "waits for open, which is pending",
            "waits for typo, which is not stored yet",
        ]
        (task,) = lines(as_json)
        assert [each["id"] for each in task["unmet_dependencies"]] == ["open", "typo"]

    def test_an_unknown_id_is_one_line_and_exit_code_1(self, storage: BlockingStorage, run: Run) -> None:
        assert run("show", "none") == (1, "", "swarm-persistence: there is no task 'none'\n")


class TestAdd:
    def test_a_task_is_stored_as_the_arguments_say(self, storage: BlockingStorage, run: Run) -> None:
        storage.store_task(a_task("first"))
        options = (
            "--priority",
            "high",
            "--depends-on",
            "first",
            "--max-retries",
            "7",
            "--key",
            "k",
            "--run-in",
            "3600",
        )

        code, output, _ = run("add", "sum", '{"rows": [1, 2]}', *options)

        task = storage.get_task(output.strip())
        assert code == 0
        assert task is not None
        assert (task.task_type, task.payload, task.priority.value) == ("sum", {"rows": [1, 2]}, "high")
        assert (task.dependencies, task.max_retries, task.idempotency_key) == (["first"], 7, "k")
        assert task.run_at is not None
        assert 3500 < (task.run_at - task.created_at).total_seconds() < 3700

    @pytest.mark.parametrize("seconds", ["-1", "1e12", "1e300", "nan", "inf"])
    def test_a_delay_that_ends_outside_the_calendar_is_refused(self, run: Run, seconds: str) -> None:
        code, _, errors = run("add", "sum", "1", f"--run-in={seconds}")
        assert (code, errors.count("\n")) == (2, 1)
        assert "expected seconds, 0 or more, a hundred years at most" in errors

    def test_the_concurrency_key_and_what_is_required_are_stored_shown_and_listed(
        self, storage: BlockingStorage, run: Run
    ) -> None:
        options = ("--concurrency-key", "customer-7", "--requires", "gpu", "--requires", "ocr")
        (id,) = run("add", "sum", *options)[1].split()
        storage.store_task(a_task("other"))

        shown = run("show", id)[1].splitlines()

        assert {"concurrency_key: customer-7", 'required_capabilities: ["gpu", "ocr"]'} <= {*shown}
        assert listed(run, "--concurrency-key", "customer-7") == [id]
        claimed = [storage.claim_next_task("agent-1", capabilities=each) for each in (["gpu"], ["gpu", "ocr"])]
        assert [task and task.id for task in claimed] == ["other", id]

    def test_a_key_that_is_stored_already_gives_the_id_of_its_task(self, storage: BlockingStorage, run: Run) -> None:
        first = run("add", "sum", "--key", "k")
        assert run("add", "sum", "--key", "k") == first
        assert len(storage.get_pending_tasks()) == 1

    def test_a_payload_that_is_no_json_is_refused(
        self, storage: BlockingStorage, run: Run, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit, match=r"^2$"):
            run("add", "sum", "{rows}")
        assert "'{rows}' is not JSON" in capsys.readouterr().err
        assert storage.get_pending_tasks() == []

    def test_a_missing_database_is_not_made(self, path: Path, run: Run) -> None:
        code, _, error = run("add", "sum")
        assert (code, path.exists()) == (2, False)
        assert "there is no database" in error


class TestChanges:
    def test_a_finished_task_is_retried(self, storage: BlockingStorage, run: Run) -> None:
        storage.store_task(a_task("t-1", status=TaskStatus.FAILED, error="no luck"))

        assert run("retry", "t-1") == (0, "t-1: pending\n", "")

        task = storage.claim_next_task("agent-1")
        assert task is not None
        assert (task.id, task.error) == ("t-1", None)

    def test_tasks_are_cancelled_and_the_others_are_told(self, storage: BlockingStorage, run: Run) -> None:
        storage.store_tasks([a_task("1"), a_task("2", status=TaskStatus.COMPLETED), a_task("3")])

        code, output, error = run("cancel", "1", "2", "none", "3", "--json")

        assert [(task["id"], task["status"]) for task in lines(output)] == [("1", "cancelled"), ("3", "cancelled")]
        assert error.splitlines() == [
            "swarm-persistence: cannot cancel '2': Conflict: task '2' is completed; only an unfinished task can be "
            "cancelled",
            "swarm-persistence: cannot cancel 'none': Not found: task 'none'",
        ]
        assert code == 1

    def test_a_held_task_is_released_without_a_retry(self, storage: BlockingStorage, run: Run) -> None:
        storage.store_task(a_task("t-1"))
        held = storage.claim_next_task("agent-1", lease=60)
        assert held is not None

        assert run("release", "t-1") == (0, "t-1: pending\n", "")

        task = storage.get_task("t-1")
        assert task is not None
        assert (task.assigned_to, task.retry_count) == (None, 0)
        assert storage.get_held_claims([held]) == []

    def test_a_held_task_is_released_for_some_seconds(self, storage: BlockingStorage, run: Run) -> None:
        storage.store_task(a_task("t-1"))
        storage.claim_next_task("agent-1", lease=60)

        assert run("release", "t-1", "--retry-in", "600") == (0, "t-1: pending\n", "")

        task = storage.get_task("t-1")
        assert task is not None
        assert task.run_at is not None
        assert round((task.run_at - task.updated_at) / timedelta(minutes=1)) == 10
        assert storage.claim_next_task("agent-2") is None

    def test_a_negative_time_of_release_is_refused(self, storage: BlockingStorage, run: Run) -> None:
        storage.store_task(a_task("t-1"))
        storage.claim_next_task("agent-1", lease=60)

        code, output, error = run("release", "t-1", "--retry-in", "-1")

        assert (code, output) == (1, "")
        assert "retry_in is -1.0" in error

    def test_a_task_is_released_only_if_the_named_agent_holds_it(self, storage: BlockingStorage, run: Run) -> None:
        storage.store_task(a_task("t-1"))
        storage.claim_next_task("agent-1", lease=60)

        code, _, error = run("release", "t-1", "--agent", "agent-2")

        assert (code, "is over" in error) == (1, True)
        assert run("release", "t-1", "--agent", "agent-1")[0] == 0

    def test_a_task_that_no_agent_holds_is_not_released(self, storage: BlockingStorage, run: Run) -> None:
        storage.store_task(a_task("t-1"))

        code, output, error = run("release", "t-1")

        assert (code, output) == (1, "")
        assert error == "swarm-persistence: cannot release 't-1': Conflict: task 't-1' is pending; no agent holds it\n"


class TestDecisions:
    def test_tasks_are_approved_and_rejected_by_a_person(self, storage: BlockingStorage, run: Run) -> None:
        storage.store_tasks([a_task("a", "approval"), a_task("b", "approval")])

        assert run("approve", "a", "--by", "alice", "--comment", "fine")[:2] == (0, "a: completed\n")
        assert run("reject", "b", "--by", "alice")[:2] == (0, "b: failed\n")
        code, _, error = run("approve", "b", "--by", "bob")

        assert code == 1
        assert "only a pending task" in error
        approved, rejected = storage.get_task("a"), storage.get_task("b")
        assert approved is not None
        assert rejected is not None
        assert approved.result == {"approved": True, "by": "alice", "comment": "fine"}
        assert rejected.error == "rejected by alice"

    def test_the_progress_of_a_running_task_is_listed(self, storage: BlockingStorage, run: Run) -> None:
        storage.store_task(a_task("a"))
        task = storage.claim_next_task("agent-1")
        assert task is not None
        storage.report_progress(task, 0.4, "2 of 5")

        assert "assigned 40%" in run("list")[1]
        assert "progress_text: 2 of 5" in run("show", "a")[1]

    def test_a_task_is_shown_with_its_past_claims(self, storage: BlockingStorage, run: Run) -> None:
        storage.store_task(a_task("a"))
        for agent_id, error in (("agent-1", "no luck\nat all"), ("agent-2", None)):
            task = storage.claim_next_task(agent_id)
            assert task is not None
            if error is None:
                storage.release_task(task)
            else:
                storage.fail_task(task, error, retry_in=0)

        lines = run("show", "a")[1].splitlines()
        shown = [line for line in lines if line.startswith("claim ")]
        assert [line.partition(" by ")[2].partition(" 0 s ago")[0] for line in shown] == [
            "agent-1: retried",
            "agent-2: released",
        ]
        assert shown[0].endswith(": no luck")
        assert not any(line.startswith("past_claims") for line in lines)
        (record,) = [json.loads(line) for line in run("show", "a", "--json")[1].splitlines()]
        assert [claim["agent_id"] for claim in record["past_claims"]] == ["agent-1", "agent-2"]


def test_blocked_tasks_are_listed_with_what_they_wait_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "blocked.db")
    with open_storage(path) as storage:
        assert main(["tasks", "blocked", path]) == 0
        assert capsys.readouterr().out == "no blocked tasks\n"
        storage.store_task(TaskModel(id="a", task_type="t"))
        storage.store_task(TaskModel(id="low", task_type="t", priority=TaskPriority.LOW, dependencies=["a", "later"]))
        long_ago = datetime(2026, 1, 1, tzinfo=UTC)
        storage.store_task(TaskModel(id="old", task_type="t", dependencies=["tpyo"], created_at=long_ago))

    assert main(["tasks", "blocked", path]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for text in ("tpyo (not stored: is the id right?)", "a (pending), later (not stored yet)"):
        assert text in shown
    assert main(["tasks", "blocked", path, "--json", "--limit", "1"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["id"], record["unmet_dependencies"]) == ("old", [{"id": "tpyo", "status": None, "is_missing": True}])


def test_waiting_ends_when_the_tasks_have_ended(path: Path, storage: BlockingStorage) -> None:
    storage.store_tasks([TaskModel(id="a", task_type="t"), TaskModel(id="b", task_type="t")])
    command = [sys.executable, "-m", "swarm_persistence", "tasks", "wait", str(path), "a", "b"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting:
        try:
            for _ in "ab":
                task = storage.claim_next_task("me")
                assert task is not None
                storage.complete_task(task)
            output, _ = waiting.communicate(timeout=60)
        finally:
            waiting.kill()

    assert (waiting.returncode, output) == (0, "a: completed\nb: completed\n")


def test_waiting_tells_of_a_task_that_was_not_completed_and_of_the_time(
    path: Path, storage: BlockingStorage, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.store_tasks([TaskModel(id="a", task_type="t"), TaskModel(id="b", task_type="t")])
    storage.cancel_task("a")

    assert main(["tasks", "wait", str(path), "a"]) == 1
    assert capsys.readouterr().out == "a: cancelled\n"
    assert main(["tasks", "wait", str(path), "a", "b", "--timeout", "0.01"]) == 1
    assert "'b'" in capsys.readouterr().err
    assert main(["tasks", "wait", str(path), "none"]) == 1
    assert "'none'" in capsys.readouterr().err

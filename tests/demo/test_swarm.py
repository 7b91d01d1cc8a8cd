"""The whole demo, with real processes on a real file."""

import os
import re
import signal
from pathlib import Path

import httpx
import pytest

from demo.swarms import RunningDemo, events_of, run_demo, tasks_of, wait_for_end, worker_pids, workers_of
from swarm_persistence import AgentStatus, TaskStatus, open_storage
from swarm_persistence.demo.vocabulary import (
    COORDINATOR_ID,
    DURATION,
    RUN_COMPLETED,
    RUN_STOPPED,
    TASK_COMPLETED,
    TASK_STARTED,
    WORKER_KILLED,
    WORKER_LOST,
    WORKER_STARTED,
    WORKER_STOPPED,
)

FEW = 40
MANY = 130
"""Enough that the swarm is still at work when the first quarter is done."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A database in which a demo has finished, and what that printed."""
    database = tmp_path_factory.mktemp("demo") / "swarm.db"
    done = run_demo(database, FEW, "--no-kill")
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stderr == ""
    return database, done.stdout


def test_a_demo_prints_the_database_once_at_the_start(finished: tuple[Path, str]) -> None:
    database, output = finished
    assert output.splitlines()[0] == f"database: {database}"
    assert output.count(str(database)) == 1


def test_a_demo_prints_the_address_of_its_page(finished: tuple[Path, str]) -> None:
    assert re.fullmatch(r"page: http://127\.0\.0\.1:\d+/ \(until the demo ends.*\)", finished[1].splitlines()[1])


def test_a_demo_without_a_page_serves_none(tmp_path: Path) -> None:
    done = run_demo(tmp_path / "swarm.db", 3, "--no-kill", "--no-page")
    assert done.returncode == 0
    assert not any(line.startswith("page:") for line in done.stdout.splitlines())


def test_the_page_shows_the_swarm_while_it_works(tmp_path: Path) -> None:
    with RunningDemo(tmp_path / "swarm.db", MANY) as demo:
        assert demo.process.stdout is not None
        found = next(filter(None, (re.match(r"page: (\S+) ", line) for line in demo.process.stdout)))
        demo.wait_for_first_quarter()
        counts = httpx.get(f"{found[1]}api/v1/tasks/counts?by=status").raise_for_status().json()
        demo.signal_group(signal.SIGINT)
        code, _, errors = demo.finish()
    assert (code, errors) == (130, "")
    assert {each["values"]["status"] for each in counts} >= {"completed"}


def test_a_demo_ends_with_the_check_line(finished: tuple[Path, str]) -> None:
    last = finished[1].splitlines()[-1]
    assert last.startswith(f"check: OK – {FEW} modules")
    assert last.endswith("tasks, each completed exactly once, none taken over: no worker was killed")


def test_a_demo_without_terminal_prints_no_control_characters(finished: tuple[Path, str]) -> None:
    assert "\x1b" not in finished[1]
    assert "\r" not in finished[1]


def test_every_step_is_stored(finished: tuple[Path, str]) -> None:
    with open_storage(finished[0]) as storage:
        tasks = tasks_of(storage, "completed")
        workers = workers_of(storage)
        assert len(tasks) > FEW
        for event_type in (TASK_STARTED, TASK_COMPLETED):
            told = [event.data["task_id"] for event in events_of(storage, event_type)]
            assert sorted(told) == sorted(task.id for task in tasks)
        assert len(events_of(storage, RUN_COMPLETED)) == 1
        assert {task.assigned_to for task in tasks} <= {worker.id for worker in workers}
        durations = [metric for each in workers for metric in storage.get_metrics_by_agent(each.id, DURATION)]
        assert len(durations) == len(tasks)
        assert storage.get_unread_messages(COORDINATOR_ID) == []


def test_workers_sign_off(finished: tuple[Path, str]) -> None:
    with open_storage(finished[0]) as storage:
        assert {agent.status for agent in storage.list_agents()} == {AgentStatus.SHUTDOWN}


def test_a_finished_demo_run_again_does_nothing_twice(finished: tuple[Path, str]) -> None:
    database, _ = finished
    with open_storage(database) as storage:
        before = len(events_of(storage, TASK_STARTED))
    again = run_demo(database, FEW)
    assert again.returncode == 0, again.stderr
    assert "all tasks are done already" in again.stdout
    assert again.stdout.splitlines()[-1].startswith("check: OK")
    with open_storage(database) as storage:
        assert len(events_of(storage, TASK_STARTED)) == before


def test_a_falsified_result_fails_the_check(finished: tuple[Path, str], tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_bytes(finished[0].read_bytes())
    with open_storage(copy) as storage:
        (report,) = [task for task in tasks_of(storage, "completed") if task.task_type == "write-report"]
        assert report.result is not None
        report.result["lines"] += 1
        storage.update_task(report)
    done = run_demo(copy, FEW)
    assert done.returncode == 1
    assert "check: FAILED" in done.stdout
    assert "lines: the swarm has" in done.stdout


def test_no_worker_is_killed_if_so_asked(finished: tuple[Path, str]) -> None:
    with open_storage(finished[0]) as storage:
        assert events_of(storage, WORKER_KILLED) == []
        assert len(events_of(storage, WORKER_STOPPED)) == len(events_of(storage, WORKER_STARTED)) == 2


def test_a_worker_is_killed_half_way_and_another_one_takes_its_task_over(tmp_path: Path) -> None:
    database = tmp_path / "swarm.db"
    done = run_demo(database, FEW)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.splitlines()[-1].endswith("each completed exactly once, 1 taken over from a killed worker")
    with open_storage(database) as storage:
        (kill,) = events_of(storage, WORKER_KILLED)
        assert kill.data["exit_code"] == -signal.SIGKILL
        (task_id,) = kill.data["tasks"]
        task = storage.get_task(task_id)
        assert task is not None
        assert (task.status, task.claim_count, task.retry_count) == (TaskStatus.COMPLETED, 2, 1)
        starts = [event.agent_id for event in events_of(storage, TASK_STARTED) if event.data["task_id"] == task_id]
        assert set(starts) == {kill.data["worker"], task.assigned_to}
        assert len(starts) == 2
        # No worker was started in its place.
        assert len(events_of(storage, WORKER_STARTED)) == 2
        assert [event.agent_id for event in events_of(storage, WORKER_STOPPED)] == [task.assigned_to]
        before = [each for each in events_of(storage, TASK_COMPLETED) if (each.sequence or 0) < (kill.sequence or 0)]
        assert len(before) > FEW // 4  # the other worker went on meanwhile, for as long as the kill took


def test_one_worker_alone_is_not_killed(tmp_path: Path) -> None:
    done = run_demo(tmp_path / "swarm.db", 3, "--workers", "1")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "a single worker is not killed" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("no worker was killed")


def test_ctrl_c_stops_in_order_and_the_next_run_carries_on(tmp_path: Path) -> None:
    database = tmp_path / "swarm.db"
    with RunningDemo(database, MANY) as demo:
        demo.wait_for_first_quarter()
        demo.signal_group(signal.SIGINT)
        code, output, errors = demo.finish()
    assert (code, errors) == (130, "")
    assert f"to carry on: swarm-persistence demo --workers 2 --database {database} --limit {MANY} --no-kill" in output

    with open_storage(database) as storage:
        assert tasks_of(storage, "assigned", "running") == []
        assert len(events_of(storage, RUN_STOPPED)) == 1
        finished_at = {task.id: task.completed_at for task in tasks_of(storage, "completed")}
        assert 0 < len(finished_at) < MANY

    again = run_demo(database, MANY, "--no-kill")
    assert again.returncode == 0, again.stderr + again.stdout
    assert again.stdout.splitlines()[-1].startswith("check: OK")
    with open_storage(database) as storage:
        now = {task.id: task.completed_at for task in tasks_of(storage, "completed")}
        assert finished_at.items() <= now.items()


def test_after_a_hard_kill_of_all_the_next_run_carries_on(tmp_path: Path) -> None:
    database = tmp_path / "swarm.db"
    with RunningDemo(database, MANY) as demo:
        demo.wait_for_first_quarter()
        workers = worker_pids(database)
        # Stopped first: a worker whose coordinator is gone signs off, and a coordinator replaces a lost worker.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in (demo.process.pid, *workers):
                os.kill(pid, number)
        demo.finish()
    for pid in workers:
        wait_for_end(pid)

    again = run_demo(database, MANY, "--no-kill")
    assert again.returncode == 0, again.stderr + again.stdout
    assert again.stdout.splitlines()[-1].startswith("check: OK")
    with open_storage(database) as storage:
        assert len(events_of(storage, WORKER_LOST)) == 2


def test_workers_of_a_killed_coordinator_finish_the_task_in_hand_and_end(tmp_path: Path) -> None:
    database = tmp_path / "swarm.db"
    with RunningDemo(database, MANY) as demo:
        demo.wait_for_first_quarter()
        workers = worker_pids(database)
        demo.process.kill()
        demo.finish()
    for pid in workers:
        wait_for_end(pid)
    with open_storage(database) as storage:
        assert tasks_of(storage, "assigned", "running") == []
        assert {worker.status for worker in workers_of(storage)} == {AgentStatus.SHUTDOWN}


def test_a_killed_worker_is_replaced_and_its_task_done_by_others(tmp_path: Path) -> None:
    database = tmp_path / "swarm.db"
    with RunningDemo(database, MANY) as demo:
        demo.wait_for_first_quarter()
        os.kill(worker_pids(database)[0], signal.SIGKILL)
        code, output, errors = demo.finish()
    assert (code, errors) == (0, ""), output
    assert output.splitlines()[-1].startswith("check: OK")
    with open_storage(database) as storage:
        assert len(events_of(storage, WORKER_LOST)) == 1


def test_a_second_demo_on_the_same_database_is_refused(tmp_path: Path) -> None:
    database = tmp_path / "swarm.db"
    with RunningDemo(database, MANY) as demo:
        demo.wait_for_first_quarter()
        demo.stop_between_writes(database)  # it must not be done before the second has looked
        second = run_demo(database, MANY)
        assert second.returncode == 1
        assert "another demo" in second.stderr
        assert len(second.stderr.splitlines()) == 1
        demo.signal_group(signal.SIGCONT)
        assert demo.finish()[0] == 0

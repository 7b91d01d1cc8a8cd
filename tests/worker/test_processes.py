"""Workers in processes of their own: stopped by signals, and killed."""

import signal
from pathlib import Path

import pytest

from sqlite.programs import Program
from swarm_persistence import AgentStatus, SqliteStorage, TaskModel, TaskStatus
from worker.workers import a_worker, completed, store

PROGRAM = """
    import asyncio, signal, sys, threading
    from swarm_persistence import AgentModel, SqliteStorage, Worker

    class Wait:
        def __init__(self):
            self.go = asyncio.Event()

        async def __call__(self, task):
            print("begun", task.id, flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            return "done"

    def hang(task):
        print("begun", task.id, flush=True)
        threading.Event().wait()

    async def main(path, handler, body, lease):
        agent = AgentModel(id="killed", name="killed", agent_type="test")
        async with await SqliteStorage.open(path) as storage:
            handlers = {"work": Wait() if handler == "wait" else hang}
            async with Worker(storage, agent, handlers, concurrency=1, lease=float(lease)) as worker:
                await (worker.run() if body == "run" else asyncio.Event().wait())
            print("stopped", worker.stopped_by.name, dict(worker.outcomes), flush=True)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    asyncio.run(main(*sys.argv[1:]))
"""


def program(path: Path, handler: str = "wait", body: str = "run", lease: float = 60.0) -> Program:
    return Program(PROGRAM, path, handler, body, lease)


async def task_of(path: Path, id: str) -> TaskModel:
    async with await SqliteStorage.open(path) as storage:
        task = await storage.get_task(id)
        assert task is not None
        return task


@pytest.fixture
async def two_tasks(path: Path) -> None:
    """Store two tasks in the file."""
    async with await SqliteStorage.open(path) as storage:
        await store(storage, "a", "b")


@pytest.mark.usefixtures("two_tasks")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("body", ["run", "else"])
async def test_a_signal_lets_what_runs_finish_and_nothing_new_begin(
    path: Path, body: str, number: signal.Signals
) -> None:
    process = program(path, body=body)
    assert process.wait_for_line() == "begun a"
    process.process.send_signal(number)
    process.tell("go")
    assert process.finish() == [f"stopped {number.name} {{'completed': 1}}"]
    assert (await task_of(path, "a")).result == "done"
    assert (await task_of(path, "b")).status is TaskStatus.PENDING
    async with await SqliteStorage.open(path) as storage:
        agent = await storage.get_agent("killed")
        assert agent is not None
        assert agent.status is AgentStatus.SHUTDOWN


@pytest.mark.usefixtures("two_tasks")
async def test_a_second_signal_hands_everything_back_and_a_hanging_thread_does_not_block_the_exit(
    path: Path,
) -> None:
    process = program(path, handler="hang")
    assert process.wait_for_line() == "begun a"
    process.process.send_signal(signal.SIGINT)
    process.process.send_signal(signal.SIGTERM)
    (line,) = process.finish()
    assert line.endswith("{'given back': 1}")
    task = await task_of(path, "a")
    assert (task.status, task.assigned_to, task.retry_count) == (TaskStatus.PENDING, None, 0)


@pytest.mark.usefixtures("two_tasks")
async def test_what_a_killed_worker_held_is_done_by_another(path: Path) -> None:
    async def work(task: TaskModel) -> str:
        return f"claim {task.claim_count}"

    process = program(path, lease=1.0)
    assert process.wait_for_line() == "begun a"
    process.kill()
    async with await SqliteStorage.open(path) as storage, a_worker(storage, {"work": work}, lease=0.4):
        tasks = await completed(storage, "a", "b")
    assert {id: (task.result, task.retry_count) for id, task in tasks.items()} == {
        "a": ("claim 2", 1),
        "b": ("claim 1", 0),
    }


@pytest.mark.usefixtures("two_tasks")
async def test_the_next_incarnation_of_a_killed_worker_takes_over_what_it_held_at_once(path: Path) -> None:
    first = program(path, lease=3600)
    assert first.wait_for_line() == "begun a"
    first.kill()
    second = program(path, lease=3600)
    begun = set()
    for _ in range(2):
        begun.add(second.wait_for_line())
        second.tell("go")
    assert begun == {"begun a", "begun b"}
    async with await SqliteStorage.open(path) as storage:
        tasks = await completed(storage, "a", "b")
    second.process.send_signal(signal.SIGTERM)
    assert second.finish() == ["stopped SIGTERM {'completed': 2}"]
    assert {id: (task.claim_count, task.retry_count) for id, task in tasks.items()} == {"a": (2, 0), "b": (1, 0)}


async def test_a_child_that_a_handler_has_forked_is_ended_by_a_signal(path: Path) -> None:
    async with await SqliteStorage.open(path) as storage:
        await store(storage, "a")
    process = Program(
        """
        import asyncio, os, signal, sys
        from swarm_persistence import AgentModel, SqliteStorage, Worker

        async def fork(task):
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                os.write(writer, b"x")
                signal.pause()
                os._exit(3)
            os.read(reader, 1)
            os.kill(child, signal.SIGTERM)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

        async def main(path):
            agent = AgentModel(id="parent", name="parent", agent_type="test")
            async with await SqliteStorage.open(path) as storage:
                async with Worker(storage, agent, {"work": fork}):
                    async for task in storage.watch_tasks():
                        if task.result is not None:
                            print(task.result)
                            break

        asyncio.run(main(sys.argv[1]))
        """,
        path,
    )
    assert process.finish() == [f"-{int(signal.SIGTERM)}"]

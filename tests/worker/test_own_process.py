"""Whether a process that held tasks is gone: only what has certainly ended counts."""

import os
import subprocess
import sys

from swarm_persistence import AgentModel, Storage, TaskStatus
from swarm_persistence.worker.own_process import is_gone, own_process
from worker.workers import a_worker, store

NAME = "from swarm_persistence.worker.own_process import own_process; print(own_process(), flush=True); input()"


def test_a_process_that_runs_is_not_gone_and_one_that_has_ended_is() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", NAME], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert child.stdin is not None
    assert child.stdout is not None
    name = child.stdout.readline().strip()
    assert not is_gone(name)

    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(name)  # a zombie as yet
    child.wait()
    assert is_gone(name)
    child.stdin.close()
    child.stdout.close()


def test_a_process_whose_number_another_one_has_is_gone() -> None:
    own = str(own_process())
    earlier = f"{own.rpartition('|')[0]}|1"

    assert not is_gone(own)
    assert is_gone(earlier)


def test_nothing_is_known_of_a_process_elsewhere() -> None:
    place, _, rest = str(own_process()).partition("|")
    unknown = ["", None, 7, "host|1", f"other-{place}|{rest}", f"{place}|{rest}|1", f"{place}|a|b|no number|1"]

    assert [name for name in unknown if is_gone(name)] == []


async def test_an_agent_whose_last_process_still_runs_keeps_its_tasks(storage: Storage) -> None:
    agent = AgentModel(id="agent-1", name="a", agent_type="t", metadata={"process": own_process()})
    await storage.store_agent(agent)
    await store(storage, "a", task_type="other")
    await storage.claim_task("a", "agent-1")

    async with a_worker(storage, {"work": print}):
        pass

    task = await storage.get_task("a")
    assert task is not None
    assert (task.status, task.assigned_to) == (TaskStatus.ASSIGNED, "agent-1")
    stored = await storage.get_agent("agent-1")
    assert stored is not None
    assert "process" not in stored.metadata

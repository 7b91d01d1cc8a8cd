"""Telling the living from the dead."""

import os
import subprocess
import sys

from swarm_persistence import AgentModel, AgentStatus
from swarm_persistence.clock import ManualClock, use_clock
from swarm_persistence.demo.liveness import SILENCE_SECONDS, is_alive, process_metadata


def agent_at(pid: int) -> AgentModel:
    agent = AgentModel.new("worker-1", "demo-worker")
    agent.metadata = {**process_metadata(), "pid": pid}
    return agent


def test_an_agent_of_a_running_process_lives() -> None:
    assert is_alive(agent_at(os.getppid()))


def test_an_agent_of_an_ended_process_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        assert not is_alive(agent_at(process.pid))


def test_an_agent_of_a_zombie_process_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is still listed
        assert not is_alive(agent_at(process.pid))


def test_an_agent_that_was_silent_for_too_long_is_dead() -> None:
    with use_clock(clock := ManualClock()):
        agent = agent_at(os.getppid())
        clock.advance(SILENCE_SECONDS)
        assert is_alive(agent)
        clock.advance(0.001)
        assert not is_alive(agent)


def test_an_agent_that_has_signed_off_is_dead() -> None:
    agent = agent_at(os.getppid())
    agent.set_status(AgentStatus.SHUTDOWN)
    assert not is_alive(agent)


def test_of_an_agent_on_another_machine_only_its_silence_tells() -> None:
    agent = agent_at(2**22 + 1)  # beyond the largest process number
    assert not is_alive(agent)
    agent.metadata["host"] = "elsewhere"
    assert is_alive(agent)


def test_an_agent_with_the_number_of_this_process_is_its_dead_predecessor() -> None:
    assert not is_alive(agent_at(os.getpid()))

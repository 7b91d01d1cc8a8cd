"""Hypothesis state machines that use storages in an event loop, and their runner: no deadline, no health checks."""

import asyncio
from contextlib import AsyncExitStack

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from swarm_persistence.testing import ManualClock, use_clock

TIMEOUT_SECONDS = 60


class LoopStateMachine(RuleBasedStateMachine):
    """Has an event loop, a clock that its rules move, and a stack of what is closed at the end, last opened first."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.closing = AsyncExitStack()
        self.clock = ManualClock()
        self.closing.enter_context(use_clock(self.clock))

    def teardown(self) -> None:
        try:
            self.loop.run_until_complete(self.closing.aclose())
        finally:
            self.loop.close()


def run_state_machine(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    """Fail, with a minimal example, if a state machine does. Must not be called within a running event loop."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

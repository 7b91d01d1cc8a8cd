"""Runs a Hypothesis state machine without deadline, example database or health checks."""

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


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

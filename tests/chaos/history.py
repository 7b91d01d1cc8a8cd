"""Judges what a trial has left: each fact takes the log and the stored tasks, and fails if it does not hold."""

from collections import defaultdict
from collections.abc import Sequence

from swarm_persistence import EventModel, TaskModel, TaskStatus

_ENDS_OF_A_CLAIM = ("completed", "failed", "released", "requeued")


class History:
    """The log of a trial, and its tasks as they are stored at the end."""

    def __init__(self, events: Sequence[EventModel], tasks: Sequence[TaskModel]) -> None:
        self.events = events
        self.tasks = tasks
        self._of_task: defaultdict[str, list[EventModel]] = defaultdict(list)
        for event in events:
            if event.data is not None:
                self._of_task[event.data["task"]].append(event)

    def count(self, event_type: str) -> int:
        """Return how often something has happened."""
        return sum(event.event_type == event_type for event in self.events)

    def require_the_log_in_order(self) -> None:
        """Require that every event has a higher sequence than the one before."""
        sequences = [event.sequence for event in self.events]
        assert all(sequence is not None for sequence in sequences)
        assert sequences == sorted(set(sequences), key=lambda sequence: sequence or 0)

    def require_all_completed(self) -> None:
        """Require that every task is completed."""
        assert {task.id: task.status for task in self.tasks if task.status is not TaskStatus.COMPLETED} == {}

    def require_one_completion_each_by_the_holder(self) -> None:
        """Require that the worker that completed a task was the last to hold it, and no other has completed it."""
        for task in self.tasks:
            completions = [event for event in self._of_task[task.id] if event.event_type == "completed"]
            assert len(completions) == 1, (task.id, completions)
            (event,) = completions
            assert (event.data["claim"], event.agent_id) == (task.claim_count, task.assigned_to), (task, event)
            assert task.result == {"claim": event.data["claim"], "incarnation": event.data["incarnation"]}, task

    def require_claims_one_after_the_other(self) -> None:
        """Require that each claim was started once at most, and ended by the worker that started it, or given back."""
        for id, events in self._of_task.items():
            starters: dict[int, str] = {}
            for event in events:
                if event.event_type == "lost":
                    continue  # told by the worker that had lost it, at any later time
                assert "completed" not in starters.values(), f"{id} went on after it was completed: {event}"
                claim = event.data.get("claim")
                if event.event_type == "started":
                    assert claim > max(starters, default=0), f"{id}: {event} comes after claims {sorted(starters)}"
                    starters[claim] = event.data["incarnation"]
                elif event.event_type in ("completed", "failed", "released"):
                    assert claim == max(starters, default=0), f"{id}: {event} is not of the last claim"
                    assert starters[claim] == event.data["incarnation"], f"{id}: {event} was started by another"
                    starters[claim] = event.event_type

    def require_every_claim_ended_once(self) -> None:
        """Require that the counters of a task are what the log says: nothing was given back twice, or forgotten."""
        for task in self.tasks:
            ends = [event.event_type for event in self._of_task[task.id] if event.event_type in _ENDS_OF_A_CLAIM]
            assert task.claim_count == len(ends), (task, ends)
            assert task.retry_count == ends.count("failed") + ends.count("requeued"), (task, ends)

    def require_dependencies_first(self) -> None:
        """Require that no task was started before all that it depends on were completed."""
        completed = {event.data["task"]: _sequence(event) for event in self.events if event.event_type == "completed"}
        for task in self.tasks:
            started = [_sequence(event) for event in self._of_task[task.id] if event.event_type == "started"]
            assert started, f"{task.id} was never started"
            last = max((completed[id] for id in task.dependencies), default=0)
            assert min(started) > last, f"{task.id} was started at {min(started)}, and a dependency ended at {last}"


def _sequence(event: EventModel) -> int:
    assert event.sequence is not None
    return event.sequence

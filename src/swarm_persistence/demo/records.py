"""The stored records of a run, read back for the tables and the verification; the performance of each worker."""

from collections import defaultdict
from datetime import datetime

import msgspec

from swarm_persistence.clock import now
from swarm_persistence.demo.plan import TaskPlan
from swarm_persistence.demo.totals import Totals
from swarm_persistence.demo.vocabulary import (
    COORDINATOR_ID,
    DURATION,
    FINDING,
    TASK_COMPLETED,
    TASK_TYPES,
    WORKER_KILLED,
    WORKER_STARTED,
)
from swarm_persistence.models import EventModel, MessageModel, MetricModel, TaskModel, TaskStatus
from swarm_persistence.query.builder import QueryBuilder
from swarm_persistence.storage import Storage


class Records(msgspec.Struct):
    """The stored tasks of a plan, and the records about them."""

    tasks: dict[str, TaskModel]
    completions: list[EventModel]
    durations: list[MetricModel]
    findings: list[MessageModel]
    worker_names: dict[str, str]
    aggregated: list[MetricModel]
    """The aggregated task durations by agent since the start of the plan's first task."""
    report: TaskModel | None
    kills: list[EventModel]

    @property
    def left_by_killed(self) -> dict[str, str]:
        """Return the plan's tasks that a killed worker had claimed, each with that worker."""
        return {id: event.data["worker"] for event in self.kills for id in event.data["tasks"] if id in self.tasks}

    @property
    def taken_over(self) -> int:
        """Return how many of these tasks another worker has completed."""
        left = self.left_by_killed
        by_others = {event.data["task_id"] for event in self.completions if self._is_by_other(event, left)}
        return len(by_others)

    def _is_by_other(self, event: EventModel, left: dict[str, str]) -> bool:
        killed = left.get(event.data["task_id"])
        return killed is not None and killed != event.agent_id

    @property
    def totals(self) -> Totals | None:
        """Return the result of the final report, if it was written."""
        if self.report is None or self.report.result is None:
            return None
        return msgspec.convert(self.report.result, Totals)


async def read_records(storage: Storage, plan: TaskPlan) -> Records:
    """Read what the storage holds about the plan's tasks."""
    of_task = QueryBuilder(TaskModel).where_in("task_type", TASK_TYPES)
    tasks = {task.id: task for task in await storage.repository(TaskModel).query(of_task) if task.id in plan.ids}
    completed = QueryBuilder(EventModel).where_eq("event_type", TASK_COMPLETED)
    completions = await storage.repository(EventModel).query(completed)
    durations = await storage.repository(MetricModel).query(QueryBuilder(MetricModel).where_eq("metric_type", DURATION))
    told = QueryBuilder(MessageModel).where_eq("to_agent", COORDINATOR_ID).where_eq("message_type", FINDING)
    findings = await storage.repository(MessageModel).query(told)
    started = QueryBuilder(EventModel).where_eq("event_type", WORKER_STARTED)
    workers = await storage.repository(EventModel).query(started)
    killed = QueryBuilder(EventModel).where_eq("event_type", WORKER_KILLED)
    return Records(
        tasks=tasks,
        completions=[event for event in completions if event.data["task_id"] in plan.ids],
        durations=[metric for metric in durations if metric.tags["task_id"] in plan.ids],
        findings=[message for message in findings if message.content["task_id"] in plan.ids],
        worker_names={event.agent_id: event.data["name"] for event in workers if event.agent_id},
        aggregated=await storage.get_aggregated_metrics(DURATION, _first_start(tasks), now()),
        report=tasks.get(plan.report.id),
        kills=await storage.repository(EventModel).query(killed),
    )


def _first_start(tasks: dict[str, TaskModel]) -> datetime:
    return min((task.started_at for task in tasks.values() if task.started_at), default=now())


class Performance(msgspec.Struct, frozen=True):
    """The performance of one worker."""

    worker: str
    tasks: int
    seconds: float
    """From the start of its first task to the end of its last."""

    @property
    def tasks_per_second(self) -> float:
        """Return its tasks per second over that time."""
        return self.tasks / self.seconds if self.seconds else 0.0


def performances(records: Records) -> list[Performance]:
    """Return the performance of each worker, ordered by the number in its name."""
    done: defaultdict[str, list[TaskModel]] = defaultdict(list)
    for task in records.tasks.values():
        if task.status is TaskStatus.COMPLETED and task.assigned_to:
            done[task.assigned_to].append(task)
    found = [_performance(name_of(records, agent_id), tasks) for agent_id, tasks in done.items()]
    return sorted(found, key=lambda each: (len(each.worker), each.worker))


def name_of(records: Records, agent_id: str | None) -> str:
    """Return a worker's name, from the event of its start if its record was deleted."""
    return records.worker_names.get(agent_id or "", agent_id or "")


def _performance(worker: str, tasks: list[TaskModel]) -> Performance:
    starts = [task.started_at for task in tasks if task.started_at]
    ends = [task.completed_at for task in tasks if task.completed_at]
    return Performance(worker, len(tasks), (max(ends) - min(starts)).total_seconds() if starts and ends else 0.0)

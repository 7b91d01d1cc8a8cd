"""Spans of tasks as messages: sent when they are stored, received when claimed, processed, and settled."""

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, Tracer, get_current_span, use_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from swarm_persistence.models import TaskModel
from swarm_persistence.telemetry.instruments import SCOPE, Instruments
from swarm_persistence.telemetry.operations import TaskStep
from swarm_persistence.worker import SnoozeTask
from swarm_persistence.worker.retry_policies import decision_of

_propagator = TraceContextTextMapPropagator()
_MOST_LINKS = 128
"""The default limit of SDKs."""


class TaskSpans:
    """Creates the spans of one storage's tasks, and counts tasks."""

    def __init__(self, tracer: Tracer, instruments: Instruments) -> None:
        self._tracer = tracer
        self._instruments = instruments

    @contextmanager
    def sending(self, tasks: Sequence[TaskModel]) -> Iterator[list[TaskModel]]:
        """Trace the write that stores tasks; each task gets the span as its `trace_parent`, unless it has one.

        Yields a list, to which the block adds the stored tasks.
        """
        sent: list[TaskModel] = []
        kind = SpanKind.PRODUCER
        with self._tracer.start_as_current_span(
            _name("store", tasks), kind=kind, attributes=_attributes("store", "send", tasks), record_exception=False
        ):
            carrier: dict[str, str] = {}
            _propagator.inject(carrier)
            trace_parent = carrier.get("traceparent")
            marked = [task for task in tasks if trace_parent and task.trace_parent is None]
            for task in marked:
                task.trace_parent = trace_parent
            try:
                yield sent
            finally:
                stored = {id(task) for task in sent}
                for task in marked:
                    if id(task) not in stored:
                        task.trace_parent = None  # stored later, it belongs to the span of then
        for task in sent:
            self._instruments.sent.add(1, _metric_attributes("store", task))

    def note(self, done: TaskStep, started_at: int) -> None:
        """Trace a claim of tasks, or the end of their claims, afterwards: the claimed tasks are not known before."""
        is_claim = done.name == "claim"
        attributes = _attributes(done.name, "receive" if is_claim else "settle", done.tasks)
        if done.tasks[0].assigned_to is not None:
            attributes["messaging.client.id"] = done.tasks[0].assigned_to
        span = self._tracer.start_span(
            _name(done.name, done.tasks),
            kind=SpanKind.CLIENT,
            attributes=attributes,
            links=[link for task in done.tasks[:_MOST_LINKS] if (link := _link(task))],
            start_time=started_at,
        )
        span.end()
        counter = self._instruments.consumed if is_claim else self._instruments.settled
        for task in done.tasks:
            counter.add(1, _metric_attributes(done.name, task))

    def around(self, handle: Callable[[TaskModel], Awaitable[Any]], agent_id: str) -> Callable[[TaskModel], Any]:
        """Return a handler that runs in a span, which continues the trace of the program that stored the task."""

        async def traced(task: TaskModel) -> Any:
            with self._processing(task, agent_id):
                return await handle(task)

        return traced

    @contextmanager
    def continuing(self, trace_parent: str) -> Iterator[None]:
        """Make the span of a `traceparent` the parent of the block's spans, unless a span is current already."""
        if get_current_span().get_span_context().is_valid:
            yield  # the application has continued the trace itself
            return
        token = attach(_propagator.extract({"traceparent": trace_parent}))
        try:
            yield
        finally:
            detach(token)

    def completed(self, tasks: list[TaskModel], started_at: int) -> None:
        """Trace the completion of tasks that are not in the engine's results."""
        self.note(TaskStep("complete", tasks), started_at)

    def requeued(self, task_count: int) -> None:
        """Count requeued tasks."""
        if task_count:
            self._instruments.lost.add(task_count)

    @contextmanager
    def _processing(self, task: TaskModel, agent_id: str) -> Iterator[None]:
        attributes = {
            **_attributes("process", "process", [task]),
            "messaging.client.id": agent_id,
            "swarm_persistence.task.attempt": task.retry_count + 1,
        }
        link = _link(task)
        span = self._tracer.start_span(
            f"process {task.task_type}",
            context=_context_of(task),
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            links=[link] if link else (),
        )
        labels = _metric_attributes("process", task)
        started_at = time.perf_counter()
        try:
            with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
                try:
                    yield
                except BaseException as error:
                    if not isinstance(decision_of(error), SnoozeTask):
                        labels["error.type"] = error_type = type(error).__qualname__
                        span.set_attribute("error.type", error_type)
                        span.set_status(Status(StatusCode.ERROR, str(error)))
                        span.record_exception(error)
                    raise
        finally:
            self._instruments.process_duration.record(time.perf_counter() - started_at, labels)


def _context_of(task: TaskModel) -> Context | None:
    """Return the context of the span in which the task was stored; `None` for the caller's context."""
    return None if task.trace_parent is None else _propagator.extract({"traceparent": task.trace_parent})


def _link(task: TaskModel) -> Link | None:
    context = _context_of(task)
    stored_in = None if context is None else get_current_span(context).get_span_context()
    return Link(stored_in) if stored_in is not None and stored_in.is_valid else None


def _type_of(tasks: Sequence[TaskModel]) -> str | None:
    types = {task.task_type for task in tasks}
    return types.pop() if len(types) == 1 else None


def _name(operation: str, tasks: Sequence[TaskModel]) -> str:
    task_type = _type_of(tasks)
    return operation if task_type is None else f"{operation} {task_type}"


def _attributes(operation: str, kind: str, tasks: Sequence[TaskModel]) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "messaging.system": SCOPE,
        "messaging.operation.name": operation,
        "messaging.operation.type": kind,
    }
    task_type = _type_of(tasks)
    if task_type is not None:
        attributes["messaging.destination.name"] = task_type
    if len(tasks) == 1:
        attributes["messaging.message.id"] = tasks[0].id
    else:
        attributes["messaging.batch.message_count"] = len(tasks)
    return attributes


def _metric_attributes(operation: str, task: TaskModel) -> dict[str, AttributeValue]:
    return {
        "messaging.system": SCOPE,
        "messaging.operation.name": operation,
        "messaging.destination.name": task.task_type,
    }

"""An engine that traces and measures each call, and delegates it to another engine."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from swarm_persistence.engines.reads import Read
from swarm_persistence.engines.steps import Step
from swarm_persistence.schema.tables import Table
from swarm_persistence.telemetry.instruments import Attributes, Instruments
from swarm_persistence.telemetry.operations import (
    EngineCall,
    new_tasks,
    operation_of_read,
    operation_of_write,
    rows_read,
    rows_written,
    task_steps,
)
from swarm_persistence.telemetry.task_spans import TaskSpans

T = TypeVar("T")
OnAbandoned = Callable[[list[Any] | None], None]


class EngineSpans:
    """Creates the spans of one storage's engine calls, and measures the calls."""

    def __init__(self, tracer: Tracer, instruments: Instruments, common: Attributes) -> None:
        self._tracer = tracer
        self._instruments = instruments
        self._common = common
        self.tasks = TaskSpans(tracer, instruments)

    def of_schema(self, name: str) -> "EngineSpans":
        """Return what makes the spans of another schema."""
        return EngineSpans(self._tracer, self._instruments, {**self._common, "db.namespace": name})

    async def call(self, operation: EngineCall, work: Callable[[], Awaitable[T]], rows: Callable[[T], int]) -> T:
        """Run a call in a span."""
        labels: dict[str, AttributeValue] = {**self._common, "db.operation.name": operation.name}
        if operation.table is not None:
            labels["db.collection.name"] = operation.table
        started_at = time.perf_counter()
        with self._tracer.start_as_current_span(
            operation.summary,
            kind=SpanKind.CLIENT,
            attributes=labels,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            if operation.batch_size > 1:
                span.set_attribute("db.operation.batch.size", operation.batch_size)
            try:
                result = await work()
                if span.is_recording():
                    span.set_attribute(operation.rows_attribute, rows(result))
                return result
            except BaseException as error:
                labels["error.type"] = type(error).__qualname__
                _note_failure(span, error)
                raise
            finally:
                self._instruments.operation_duration.record(time.perf_counter() - started_at, labels)

    async def write(self, steps: Sequence[Step], work: Callable[[], Awaitable[list[Any]]]) -> list[Any]:
        """Run a write in a span, and trace what it does to tasks."""
        tasks = new_tasks(steps)
        if not tasks:
            return await self._write(steps, work)
        with self.tasks.sending(tasks) as sent:
            results = await self._write(steps, work)
            sent.extend(new_tasks(steps, results))
        return results

    async def _write(self, steps: Sequence[Step], work: Callable[[], Awaitable[list[Any]]]) -> list[Any]:
        started_at = time.time_ns()
        results = await self.call(operation_of_write(steps), work, lambda results: rows_written(steps, results))
        for done in task_steps(steps, results):
            self.tasks.note(done, started_at)
        return results


class TracedReader:
    """A snapshot, session or engine whose reads are traced."""

    def __init__(self, inner: Any, spans: EngineSpans) -> None:
        self.inner = inner
        self._spans = spans

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def read(self, read: Read[T]) -> T:
        return await self._spans.call(
            operation_of_read(read), lambda: self.inner.read(read), lambda result: rows_read(read, result)
        )


class TracedExecutor(TracedReader):
    """A session or engine whose reads and writes are traced."""

    async def write(self, steps: Sequence[Step]) -> list[Any]:
        return await self._spans.write(steps, lambda: self.inner.write(steps))

    def _call(self, name: str, work: Callable[[], Awaitable[T]]) -> Awaitable[T]:
        return self._spans.call(EngineCall(name), work, lambda _: 0)


class TracedSession(TracedExecutor):
    """A transaction whose operations are traced."""

    async def savepoint(self, name: str) -> None:
        await self._call("SAVEPOINT", lambda: self.inner.savepoint(name))

    async def release(self, name: str) -> None:
        await self._call("RELEASE SAVEPOINT", lambda: self.inner.release(name))

    async def rollback_to(self, name: str) -> None:
        await self._call("ROLLBACK TO SAVEPOINT", lambda: self.inner.rollback_to(name))

    async def commit(self) -> None:
        await self._call("COMMIT", self.inner.commit)

    def rollback(self) -> Awaitable[None]:
        rolling_back: Awaitable[None] = self.inner.rollback()  # it starts with the call
        return self._call("ROLLBACK", lambda: rolling_back)


class TracedEngine(TracedExecutor):
    """An engine whose calls are traced."""

    def for_schema(self, schema: str) -> "TracedEngine":
        return TracedEngine(self.inner.for_schema(schema), self._spans.of_schema(schema))

    async def deliver(self, steps: Sequence[Step], on_abandoned: OnAbandoned) -> list[Any]:
        return await self._spans.write(steps, lambda: self.inner.deliver(steps, on_abandoned))

    async def begin(self) -> TracedSession:
        return TracedSession(await self._call("BEGIN", self.inner.begin), self._spans)

    async def snapshot(self) -> TracedReader:
        return TracedReader(await self._call("SNAPSHOT", self.inner.snapshot), self._spans)

    async def follow(self, query: Any, *arguments: Any) -> Any:
        return await self._spans.call(
            EngineCall("SELECT", query.table.name),
            lambda: self.inner.follow(query, *arguments),
            lambda page: len(page.rows),
        )

    async def drop_parts(self, table: Table[Any], stale: Any) -> int:
        return await self._spans.call(
            EngineCall("DROP PARTITION", table.name), lambda: self.inner.drop_parts(table, stale), lambda rows: rows
        )

    async def vacuum(self) -> None:
        await self._call("VACUUM", self.inner.vacuum)

    async def checkpoint(self) -> None:
        await self._call("CHECKPOINT", self.inner.checkpoint)

    async def back_up(self, *arguments: Any, **options: Any) -> None:
        await self._call("BACKUP", lambda: self.inner.back_up(*arguments, **options))

    async def migrate_to(self, version: int) -> None:
        await self._call("MIGRATE", lambda: self.inner.migrate_to(version))


def _note_failure(span: Span, error: BaseException) -> None:
    span.set_attribute("error.type", type(error).__qualname__)
    span.set_status(Status(StatusCode.ERROR, str(error)))

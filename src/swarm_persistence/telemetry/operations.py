"""Describes engine calls: the operation, its table and rows, and the tasks that it stores or ends."""

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any, NamedTuple

from swarm_persistence.engines.reads import Get, IsAny, LastSequence, Page, Read, WordIndexes
from swarm_persistence.engines.steps import (
    Claim,
    Delete,
    IfChanged,
    IfNone,
    IndependentWrites,
    IndexWords,
    Insert,
    KeepWordIndex,
    LockRows,
    Put,
    Replace,
    Reserve,
    Restore,
    Save,
    Step,
    Take,
    Unlink,
    Update,
    Upkeep,
)
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.schema.tables import DOCUMENTS, TABLES, TASKS

_NAMES: dict[type, str] = {
    Insert: "INSERT",
    Restore: "INSERT",
    Save: "UPSERT",
    Put: "UPSERT",
    Replace: "UPDATE",
    Update: "UPDATE",
    Upkeep: "UPDATE",
    Claim: "UPDATE",
    Reserve: "UPDATE",
    Delete: "DELETE",
    Take: "DELETE",
    Unlink: "DELETE",
    LockRows: "LOCK",
    KeepWordIndex: "UPDATE",
    IndexWords: "UPDATE",
}
_AUXILIARY = (LockRows, Upkeep)
_TABLES_BY_MODEL = {table.model: table.name for table in TABLES}
_ENDS = {
    TaskStatus.COMPLETED.value: "complete",
    TaskStatus.FAILED.value: "fail",
    TaskStatus.PENDING.value: "release",
}


class EngineCall(NamedTuple):
    """One call of an engine, by the names of the semantic conventions for databases."""

    name: str
    table: str | None = None
    batch_size: int = 1

    @property
    def rows_attribute(self) -> str:
        """Return the name of the span attribute for the number of rows."""
        return "db.response.returned_rows" if self.name == "SELECT" else "swarm_persistence.rows_written"

    @property
    def summary(self) -> str:
        """Return the name of its span."""
        return self.name if self.table is None else f"{self.name} {self.table}"


class TaskStep(NamedTuple):
    """The effect of a step on tasks: `claim`, or the end of a claim by `complete`, `fail`, `retry` or `release`."""

    name: str
    tasks: list[TaskModel]


def operation_of_write(steps: Sequence[Step]) -> EngineCall:
    """Return the operation of a write; steps of several kinds or tables are a batch."""
    leaves = [step for step, _ in _leaves(steps)]
    chief = [step for step in leaves if not isinstance(step, _AUXILIARY)] or leaves
    kinds = {_NAMES[type(step)] for step in chief}
    tables = {_table_of(step) for step in chief}
    name = kinds.pop() if len(kinds) == 1 else ""
    batch = f"BATCH {name}".rstrip() if len(chief) > 1 or not name else name
    return EngineCall(batch, tables.pop() if len(tables) == 1 else None, len(chief))


def operation_of_read(read: Read[Any]) -> EngineCall:
    """Return the operation of a read."""
    match read:
        case Get(table=table) | LastSequence(table=table):
            return EngineCall("SELECT", table.name)
        case WordIndexes():
            return EngineCall("SELECT", DOCUMENTS.name)
        case IsAny(queries):
            tables = {query.table.name for query in queries}
            return EngineCall("SELECT", tables.pop() if len(tables) == 1 else None)
    return EngineCall("SELECT", read.query.table.name)  # type: ignore[attr-defined]


def rows_read(read: Read[Any], result: Any) -> int:
    """Return the number of rows in the result of a read."""
    records = result[0] if isinstance(read, Page) else result
    return len(records) if isinstance(records, list) else int(records is not None)


def rows_written(steps: Sequence[Step], results: Sequence[Any]) -> int:
    """Return the number of rows that a write has added, changed or deleted."""
    return sum(_rows(step, result) for step, result in _leaves(steps, results))


def new_tasks(steps: Sequence[Step], results: Sequence[Any] | None = None) -> list[TaskModel]:
    """Return the tasks that a write will store or, given its results, those that it has stored."""
    return [
        step.model
        for step, result in _leaves(steps, results)
        if isinstance(step, Insert | Save)
        and isinstance(step.model, TaskModel)
        and step.model.version == 0
        and (results is None or result)  # otherwise it is the duplicate of a key
    ]


def task_steps(steps: Sequence[Step], results: Sequence[Any]) -> list[TaskStep]:
    """Return the effects of a write on tasks that it claimed or whose claims it ended.

    Steps that return only some columns are left out: their verb has the tasks, and reports them.
    """
    found: dict[str, list[TaskModel]] = {}
    for step, tasks in _leaves(steps, results):
        if not isinstance(step, Claim) or step.query.table is not TASKS or step.fields or not tasks:
            continue
        if name := _name_of(step):
            found.setdefault(name, []).extend(tasks)
    return [TaskStep(name, tasks) for name, tasks in found.items()]


def _name_of(step: Claim[Any]) -> str | None:
    if "claim_count" in step.changes:
        return "claim"
    if "retry_count" in step.changes:
        return "retry"
    status = step.changes.get("status")
    return _ENDS.get(status) if isinstance(status, str) else None  # an extension of a lease ends no claim


def _leaves(steps: Sequence[Step], results: Sequence[Any] | None = None) -> Iterator[tuple[Any, Any]]:
    """Yield the nested steps, each with its result; after the write, only those that ran."""
    # An engine may leave out the results of links, which come last.
    for step, result in zip(steps, repeat(None) if results is None else results, strict=False):
        if isinstance(step, IfChanged):
            yield from _leaves((step.step,), None if results is None else (result,))
        elif isinstance(step, IfNone):
            if results is None or result is not None:
                yield from _leaves(step.then, result)
        elif isinstance(step, IndependentWrites):
            for write, outcome in zip(step.writes, repeat(None) if result is None else result, strict=False):
                yield from _leaves(write, outcome)
        else:
            yield step, result


def _table_of(step: Any) -> str:
    if isinstance(step, Insert | Save | Replace):
        return _TABLES_BY_MODEL[type(step.model)]
    if isinstance(step, Put):
        return _TABLES_BY_MODEL[type(step.models[0])]
    if isinstance(step, KeepWordIndex | IndexWords):
        return DOCUMENTS.name
    query = step.links if isinstance(step, Unlink) else getattr(step, "query", None)
    return str((step if query is None else query).table.name)


def _rows(step: Any, result: Any) -> int:
    if isinstance(step, Insert):
        return int(bool(result))
    if isinstance(step, Put):
        return sum(stored is not None for stored in result)
    if isinstance(step, Take | Claim):
        return len(result)
    if isinstance(step, Replace):
        return int(result is not None)
    return result if type(result) is int else 0

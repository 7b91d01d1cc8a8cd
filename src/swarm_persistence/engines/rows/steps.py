"""Compiles steps to functions of `Changes`, with their models encoded.

Encoding raises `SerializationError` for a value that no column can store, before anything is written.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from swarm_persistence.engines.rows.changes import Changes, CompiledStep
from swarm_persistence.engines.steps import (
    Claim,
    Delete,
    DeleteFirst,
    IfChanged,
    IfNone,
    IndependentWrites,
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
from swarm_persistence.schema.codec import codec_of


def compile_steps(steps: Sequence[Step]) -> list[CompiledStep]:
    """Return the functions that run the steps; a value that cannot be stored raises `SerializationError`."""
    # Looked up by class: each failed `isinstance` of a msgspec struct takes half a microsecond.
    return [_COMPILE[type(step)](step) for step in steps]


def _insert(step: Insert[Any]) -> CompiledStep:
    codec = codec_of(type(step.model))
    table, values, unless = codec.table, codec.encode(step.model), step.unless
    return lambda changes: changes.insert(table, values, unless)


def _save(step: Save[Any]) -> CompiledStep:
    codec = codec_of(type(step.model))
    table, values = codec.table, codec.encode(step.model)
    return lambda changes: changes.save(table, values)


def _replace(step: Replace[Any]) -> CompiledStep:
    codec = codec_of(type(step.model))
    table, values = codec.table, codec.encode(step.model)
    return lambda changes: changes.replace(table, values, step.is_forced, step.may_lose_sticky)


def _put(step: Put[Any]) -> CompiledStep:
    codec = codec_of(type(step.models[0]))
    rows = [*map(codec.encode, step.models)]
    return partial(Changes.put, table=codec.table, rows=rows, if_absent=step.if_absent)


def _if_changed(step: IfChanged) -> CompiledStep:
    (first,), then = compile_steps((step.step,)), compile_steps(step.then)
    return lambda changes: changes.if_changed(first, then)


def _if_none(step: IfNone) -> CompiledStep:
    query, then = step.query, compile_steps(step.then)
    return lambda changes: changes.if_none(query, then)


def _independent_writes(step: IndependentWrites) -> CompiledStep:
    writes = [compile_steps(steps) for steps in step.writes]
    return lambda changes: [[run(changes) for run in steps] for steps in writes]


def _do_nothing(_changes: Changes) -> None:
    """Stand for a step that these engines need not run."""


_COMPILE: dict[type, Callable[[Any], CompiledStep]] = {
    Insert: _insert,
    Save: _save,
    Replace: _replace,
    Put: _put,
    Take: lambda step: partial(Changes.take, query=step.query),
    Update: lambda step: partial(Changes.update, query=step.query, changes=step.changes),
    Upkeep: lambda step: partial(Changes.update, query=step.query, changes=step.changes),
    Claim: lambda step: partial(Changes.claim, step=step),
    Delete: lambda step: partial(Changes.delete, query=step.query),
    DeleteFirst: lambda step: partial(Changes.delete_first, step=step),
    Unlink: lambda step: partial(Changes.unlink, step=step),
    Restore: lambda step: partial(
        Changes.restore, table=step.table, rows=step.rows, keeps_sequences=step.keeps_sequences
    ),
    Reserve: lambda step: partial(Changes.reserve, table=step.table, number=step.number),
    IfChanged: _if_changed,
    IfNone: _if_none,
    IndependentWrites: _independent_writes,
    LockRows: lambda step: _do_nothing,  # writes are serialized
    KeepWordIndex: lambda step: _do_nothing,  # a search scans the documents
}

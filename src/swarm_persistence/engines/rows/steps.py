"""Compiles steps to functions of `Changes`, with their models encoded.

Encoding raises `SerializationError` for a value that no column can store, before anything is written.
"""

from collections.abc import Sequence

from swarm_persistence.engines.rows.changes import CompiledStep
from swarm_persistence.engines.steps import (
    Claim,
    Delete,
    IfChanged,
    IfNone,
    Insert,
    LockRows,
    Replace,
    Reserve,
    Restore,
    Save,
    Step,
    Update,
)
from swarm_persistence.schema.codec import codec_of


def compile_steps(steps: Sequence[Step]) -> list[CompiledStep]:
    """Return the functions that run the steps; a value that cannot be stored raises `SerializationError`."""
    return [_compiled(step) for step in steps]


def _compiled(step: Step) -> CompiledStep:
    if isinstance(step, Insert):
        codec = codec_of(type(step.model))
        table, values = codec.table, codec.encode(step.model)
        unless = step.unless
        return lambda changes: changes.insert(table, values, unless)
    match step:
        case IfChanged(first, then):
            compiled, followers = _compiled(first), compile_steps(then)
            return lambda changes: changes.when(compiled, followers)
        case IfNone(query, then):
            steps = compile_steps(then)
            return lambda changes: changes.unless(query, steps)
        case Restore(table, rows, keeps_sequences):
            return lambda changes: changes.restore(table, rows, keeps_sequences)
        case Reserve(table, number, _):
            return lambda changes: changes.reserve(table, number)
        case LockRows():
            return lambda changes: None  # writes are serialized
        case Save(model):
            codec = codec_of(type(model))
            values = codec.encode(model)
            return lambda changes: changes.save(codec.table, values)
        case Replace(model, is_forced):
            codec = codec_of(type(model))
            values = codec.encode(model)
            return lambda changes: changes.replace(codec.table, values, is_forced)
        case Update(query, column_changes):
            return lambda changes: changes.update(query, column_changes)
        case Claim(query, column_changes):
            return lambda changes: changes.claim(query, column_changes)
        case Delete(query):
            return lambda changes: changes.delete(query)

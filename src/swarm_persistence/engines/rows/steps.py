"""Makes steps ready to be done: encodes the models, which refuses a value that no column can hold."""

from collections.abc import Iterator, Sequence
from typing import Any

from swarm_persistence.engines.interface import (
    Claim,
    Delete,
    Hold,
    Insert,
    Replace,
    Reserve,
    Restore,
    Save,
    Step,
    Unless,
    Update,
    When,
)
from swarm_persistence.engines.rows.changes import CompiledStep
from swarm_persistence.schema.codec import codec_of


def compile_steps(steps: Sequence[Step]) -> list[CompiledStep]:
    """Return the works of all steps; a value that cannot be stored raises `SerializationError`."""
    return [_work(step) for step in steps]


def _work(step: Step) -> CompiledStep:
    if isinstance(step, Insert):
        codec = codec_of(type(step.model))
        table, values = codec.table, codec.encode(step.model)
        unless = step.unless
        return lambda changes: changes.insert(table, values, unless)
    match step:
        case When(first, then):
            first_work, then_works = _work(first), compile_steps(then)
            return lambda changes: changes.when(first_work, then_works)
        case Unless(query, then):
            works = compile_steps(then)
            return lambda changes: changes.unless(query, works)
        case Restore(table, rows, keeps_sequences):
            return lambda changes: changes.restore(table, rows, keeps_sequences)
        case Reserve(table, number, _):
            return lambda changes: changes.reserve(table, number)
        case Hold():
            return lambda changes: None  # writers take turns
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


def changed_tables(step: Step, result: Any) -> Iterator[str]:
    """Yield the names of the tables that a step with this result may have changed."""
    if not result:
        return
    match step:
        case When(first, then):
            for each in (first, *then):
                yield from changed_tables(each, True)
        case Unless(_, then):
            for each in then:
                yield from changed_tables(each, True)
        case Insert(model) | Save(model) | Replace(model):
            yield codec_of(type(model)).table.name
        case Restore(table):
            yield table.name
        case Update(query) | Claim(query) | Delete(query):
            yield query.table.name

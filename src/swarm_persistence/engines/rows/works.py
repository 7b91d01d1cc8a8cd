"""Makes steps ready to be done: encodes the models, which refuses a value that no column can hold."""

from collections.abc import Sequence

from swarm_persistence.engines.interface import Claim, Delete, Insert, Replace, Save, Step, Update
from swarm_persistence.engines.rows.changes import Work
from swarm_persistence.schema.codec import codec_of


def works_of(steps: Sequence[Step]) -> list[Work]:
    """Return the works of all steps; a value that cannot be stored raises `SerializationError`."""
    return [_work(step) for step in steps]


def _work(step: Step) -> Work:
    if isinstance(step, Insert):
        codec = codec_of(type(step.model))
        table, values = codec.table, codec.encode(step.model)
        return lambda changes: changes.insert(table, values)
    match step:
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

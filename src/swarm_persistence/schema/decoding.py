"""Generates the source of the function that decodes a row into a model, where a list spends half of its time.

A model takes keyword arguments only, which msgspec looks up one by one: 0.9 µs for a task. So a record is created with
positional arguments, as an instance of a class with the model's fields, and then assigned the model's class: 0.25 µs.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any

import msgspec

from swarm_persistence.clock import EPOCH
from swarm_persistence.errors import UnreadableError, shown
from swarm_persistence.models import Model
from swarm_persistence.models.collections import collection_of
from swarm_persistence.schema import values
from swarm_persistence.schema.tables import SEQUENCE, Column, Kind, Table
from swarm_persistence.schema.values import ColumnValue


def decoding_names(table: Table[Any], undecodable: Callable[..., Any]) -> dict[str, Any]:
    """Return the namespace of the source of `decoding_lines`."""
    return {
        "Model": table.model,
        "Record": msgspec.defstruct(
            f"{table.model.__name__}Record", [(name, Any) for name in _by_position(table)], bases=(Model,)
        ),
        "table": table,
        "undecodable": undecodable,
        **_names_of_values(table),
    }


def decoding_lines(table: Table[Any]) -> list[str]:
    """Return the source of `decode`, which takes one row."""
    return [
        "def decode(row):",
        "    try:",
        *(f"        {line}" for line in _record(table)),
        "        return record",
        "    except Exception as error:",
        "        undecodable(table, row, error)",
    ]


@cache
def column_decoder(table: Table[Any], name: str) -> Callable[[ColumnValue], Any]:
    """Return the function that decodes a column's value.

    It raises `UnreadableError`, which names the field and the value, if that is not possible.
    """
    source = "raw" if name == SEQUENCE else _decoded(table.column(name), "raw")
    decode: Callable[[ColumnValue], Any] = eval(f"lambda raw: {source}", _names_of_values(table))

    def decoded(raw: ColumnValue) -> Any:
        try:
            return decode(raw)
        except Exception as error:
            raise UnreadableError(
                f"the stored {table.label}.{name} {shown(raw)} cannot be read back: {type(error).__name__}: {error}"
            ) from error

    return decoded


def _names_of_values(table: Table[Any]) -> dict[str, Any]:
    return {
        "EPOCH": EPOCH,
        "MICROSECOND": timedelta(microseconds=1),
        "loads": values.decode_json,
        "collection_of": collection_of,
        "numbers_of": values.numbers_of,
        "past_claims_of": values.past_claims_of,
        **{f"{column.name}_members": _members(column) for column in table.columns if column.choices is not None},
    }


def _by_position(table: Table[Any]) -> list[str]:
    return [name for name in table.model.__struct_fields__ if name not in Model.__struct_fields__]


def _members(column: Column) -> dict[str | int, Any]:
    assert column.choices is not None
    return {
        member.rank if column.kind is Kind.RANK else member.value: member  # type: ignore[attr-defined]
        for member in column.choices
    }


def _record(table: Table[Any]) -> list[str]:
    raw = {name: f"row[{position}]" for name, position in table.positions.items()}
    lines = []
    decoded = {}
    time = None
    for name in table.model.__struct_fields__:
        column = table.column(name)
        decoded[name] = raw[name] if name == SEQUENCE else _decoded(column, raw[name])
        if column.kind is Kind.TIME and not column.is_nullable:
            # In most records the times are equal: never updated since they were created.
            same = "" if time is None else f"{time}_time if {raw[name]} == {raw[time]} else "
            lines.append(f"{name}_time = {same}{decoded[name]}")
            decoded[name] = f"{name}_time"
            time = time or name
    arguments = [decoded[name] for name in _by_position(table)]
    arguments += [f"{name}={decoded[name]}" for name in Model.__struct_fields__]
    return [*lines, f"record = Record({', '.join(arguments)})", "record.__class__ = Model"]


def _decoded(column: Column, raw: str) -> str:
    match column.kind:
        case Kind.CHOICE | Kind.RANK:
            decoded = f"{column.name}_members[{raw}]"
        case Kind.FLAG:
            decoded = f"{raw} == 1"
        case Kind.TIME:
            decoded = f"EPOCH + MICROSECOND * {raw}"
        case Kind.OBJECT | Kind.TAGS:
            decoded = f"{{}} if {raw} == '{{}}' else loads({raw})"
        case Kind.TEXTS:
            decoded = f"[] if {raw} == '[]' else loads({raw})"
        case Kind.CLAIMS:
            # A tuple: the empty one is a single shared object, and no work for the garbage collector.
            decoded = f"() if {raw} == '[]' else past_claims_of({raw})"
        case Kind.JSON:
            decoded = f"loads({raw})"
        case Kind.PATH:
            decoded = f"collection_of({raw})"
        case Kind.VECTOR:
            decoded = f"numbers_of({raw})"
        case _:
            return raw
    return f"None if {raw} is None else {decoded}" if column.is_nullable else decoded

"""Encodes a model as a row, and decodes a row into a model, without an intermediate dict.

The source of the two functions is generated once for each model, as `dataclasses` does: a loop over the columns would
cost several times the encoding itself. It contains names from our own schema only.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic

from swarm_persistence.errors import UnreadableError
from swarm_persistence.schema import values
from swarm_persistence.schema.decoding import decoding_lines, decoding_names
from swarm_persistence.schema.tables import SEQUENCE, TABLES, Column, Kind, M, Table
from swarm_persistence.schema.values import ColumnValue

Row = Sequence[ColumnValue]
"""The columns of a table in order, with the hidden ones or without, then the sequence."""


class Codec(Generic[M]):
    """Encodes and decodes the rows of one model."""

    encode: Callable[[M], tuple[ColumnValue, ...]]
    """Return the columns' values, without the sequence; a value that would not be read back equal raises
    `SerializationError`, which names model, field and value."""

    decode: Callable[[Row], M]
    """Return the model of a row; one that cannot be read raises `UnreadableError`, which names the row."""

    def __init__(self, table: Table[M]) -> None:
        self.table = table
        names: dict[str, Any] = {
            **vars(values),
            **decoding_names(table, _undecodable),
            "derived_id": None if table.derived_id is None else table.derived_id[0],
        }
        for column in table.columns:
            names[f"{column.name}_kind"] = column.kind
            if column.choices is not None:
                names[f"{column.name}_choices"] = column.choices
        exec(compile(_source(table), f"<codec of {table.name}>", "exec"), names)
        self.encode = names["encode"]
        self.decode = names["decode"]


def _source(table: Table[Any]) -> str:
    lines = ["def encode(model):"]
    for column in table.columns[1:] if table.derived_id else table.columns:
        lines += [f"    {line}" for line in _encoding(column, f"{table.label}.{column.name}")]
    if table.derived_id is not None:
        _, first, second = table.derived_id
        lines += [
            f"    _id = derived_id(_{first}, _{second})",
            f"    if len(_id) > {values.LONGEST_ID // 4}: document_id(_id, {table.id_field!r})",
            "    if model.id != _id: model.id = _id",
        ]
    lines += [f"    return ({', '.join(f'_{name}' for name in table.names)},)", ""]
    return "\n".join([*lines, *decoding_lines(table)])


def _encoding(column: Column, field: str) -> list[str]:
    lines = [line.format(v=f"_{column.name}", name=column.name, field=repr(field)) for line in _steps(column)]
    first = f"_{column.name} = model.{column.name}"
    if column.is_nullable:
        return [first, f"if _{column.name} is not None:", *(f"    {line}" for line in lines)]
    return [first, *lines]


def _steps(column: Column) -> list[str]:
    match column.kind:
        case Kind.TEXT:
            check, empty = ("identifier", "not {v} or ") if column.name == "id" else ("text", "")
            unusual = f"type({{v}}) is not str or {empty}not {{v}}.isascii() or '\\0' in {{v}}"
            return [f"if {unusual}: {{v}} = {check}({{v}}, {{field}})"]
        case Kind.CHOICE | Kind.RANK:
            attribute = "rank" if column.kind is Kind.RANK else "_value_"
            return [
                "if type({v}) is not {name}_choices: {v} = model.{name} = member({name}_choices, {v}, {field})",
                f"{{v}} = {{v}}.{attribute}",
            ]
        case Kind.OBJECT | Kind.TAGS:
            return ["{v} = '{{}}' if {v} == {{}} else json_text({v}, {field}, {name}_kind)"]
        case Kind.CLAIMS:
            return ["{v} = '[]' if {v} == () else past_claims({v}, {field})"]
        case Kind.TEXTS:
            return ["{v} = '[]' if {v} == [] else json_text({v}, {field}, {name}_kind)"]
        case Kind.TIME:
            return [
                "if type({v}) is datetime and {v}.tzinfo is UTC:",
                "    {v} = {v} - EPOCH",
                "    {v} = {v}.days * 86400000000 + {v}.seconds * 1000000 + {v}.microseconds",
                "else:",
                "    {v} = moment({v}, {field})",
                # In the hour that a zone's clocks repeat or skip, a time equals none of another zone, not even itself
                # in UTC: what is read back would not equal the caller's record, so that is set to the time in UTC.
                "    if from_microseconds({v}) != model.{name}: model.{name} = from_microseconds({v})",
            ]
        case Kind.REAL:
            # A NaN or an infinity minus itself is NaN, which equals nothing.
            return ["if type({v}) is not float or {v} - {v} != 0.0: {v} = real({v}, {field})"]
        case Kind.JSON:
            return _json_steps()
        case Kind.COUNT:
            return [f"if type({{v}}) is not int or not 0 <= {{v}} <= {values.LARGEST_COUNT}: count({{v}}, {{field}})"]
        case Kind.VERSION:
            return [
                f"if type({{v}}) is not int or not 0 <= {{v}} < {values.LARGEST_INTEGER}: version({{v}}, {{field}})",
                "{v} += 1",
            ]
        case Kind.FLAG:
            return ["if {v} is not True and {v} is not False: flag({v}, {field})", "{v} = 1 if {v} else 0"]
        case Kind.PATH | Kind.BYTES | Kind.VECTOR:
            return _STEPS_OF[column.kind]


def _json_steps() -> list[str]:
    """Return the steps of any JSON value; `json_text` is not called for values that are trivially valid."""
    if values.HAS_SHORT_STACK:
        return ["{v} = json_text({v}, {field})"]
    return [
        "try:",
        "    data = encode_json({v})",
        f"    is_plain = decode_json(data) == {{v}} and (len(data) <= {values.LONGEST_SHALLOW_JSON} or "
        "not has_many_levels(data))",
        "except Exception:",
        "    is_plain = False",
        "{v} = data.decode() if is_plain else json_text({v}, {field})",
    ]


_STEPS_OF = {
    Kind.PATH: ["{v} = path({v}, {field})"],
    Kind.BYTES: ["if type({v}) is not bytes: binary({v}, {field})"],
    Kind.VECTOR: [
        "{v} = vector({v}, {field})",
        # What is read back is of single precision, so the caller's record is set to that.
        "if numbers_of({v}) != model.{name}: model.{name} = numbers_of({v})",
    ],
}


def _undecodable(table: Table[Any], row: Row, error: Exception) -> None:
    identity = row[table.positions["id"]] if row else None
    position = table.positions[SEQUENCE]
    if position >= len(row):
        position = len(table.columns)  # in a row without the hidden columns
    sequence: Any = row[position] if position < len(row) else None
    raise UnreadableError(
        f"the stored {table.label} {identity!r} cannot be read back: {type(error).__name__}: {error}",
        identity,
        sequence,
    ) from error


CODECS: Mapping[type[Any], Codec[Any]] = {table.model: Codec(table) for table in TABLES}


def codec_of(model: type[M]) -> Codec[M]:
    """Return the codec of a model's class."""
    return CODECS[model]

"""Encodes a field's value for its column, and refuses values that would not be read back equal."""

import math
import struct
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NoReturn, cast

import msgspec

from swarm_persistence.clock import from_microseconds, microseconds
from swarm_persistence.errors import SerializationError, is_nested_deeper, shown
from swarm_persistence.models.choices import member
from swarm_persistence.models.collections import collection_text
from swarm_persistence.models.past_claims import LONGEST_ERROR, MOST_PAST_CLAIMS, ClaimOutcome, PastClaim
from swarm_persistence.plain_json import encode_json
from swarm_persistence.schema.tables import Column, Kind, Table

LARGEST_COUNT = 2**32 - 1  # the seed's u32
LARGEST_INTEGER = 2**63 - 1
LONGEST_ID = 1800
"""The most bytes of a derived id: an entry of a PostgreSQL index has at most 2,700 bytes."""
DEEPEST_NESTING = 256
"""The deepest nesting of lists and dicts in a JSON value. Python's own limit depends on the depth of the caller's
stack: a value stored from a shallow stack might not be readable from a deep one."""
LONGEST_SHALLOW_JSON = 2 * DEEPEST_NESTING
"""JSON with so few bytes cannot be nested deeper."""

HAS_SHORT_STACK = sys.platform == "emscripten"
"""In a browser, the stack overflows before Python raises RecursionError, which crashes the interpreter."""

ColumnValue = str | int | float | bytes | None

decode_json = msgspec.json.Decoder().decode

_SHAPES: dict[Kind, tuple[str, Callable[[bytes], Any]]] = {
    Kind.JSON: ("a JSON value", decode_json),
    Kind.OBJECT: ("a dict with text keys and JSON values", msgspec.json.Decoder(dict[str, Any]).decode),
    Kind.TEXTS: ("a list of str", msgspec.json.Decoder(list[str]).decode),
    Kind.TAGS: ("a dict of str to str", msgspec.json.Decoder(dict[str, str]).decode),
}
# Looking up or hashing an enum's member takes about as long as encoding a value.
_JSON = Kind.JSON
_JSON_SHAPE = _SHAPES[_JSON]


def refuse(field: str, value: object, expected: str) -> NoReturn:
    """Raise `SerializationError` that names the field, the value and what was expected."""
    raise SerializationError(f"{field} is {shown(value)}, expected {expected}")


def text(value: object, field: str) -> str:
    """Return the value as a plain `str`, if every engine can store it."""
    if type(value) is str and value.isascii() and "\0" not in value:
        return value
    if not issubclass(type(value), str):
        refuse(field, value, "a str")
    # A subclass may override any method, and memory would return it where a database returns a `str`.
    value = str.__str__(cast(str, value))
    if "\0" in value:
        refuse(field, value, "text without NUL characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        refuse(field, value, "text without lone surrogates")
    return value


def identifier(value: object, field: str) -> str:
    """Return the value as a plain `str`, if it is text and not empty."""
    if type(value) is str and value and value.isascii() and "\0" not in value:
        return value
    return text(value, field) or refuse(field, value, "an id that is not empty")


def path(value: object, field: str) -> str:
    """Return the text of a tuple of texts, which sorts as they do."""
    global _last_path  # noqa: PLW0603 - the records of one write have one collection, mostly the same object
    last = _last_path
    if value is last[0]:
        return last[1]
    if type(value) is not tuple:
        refuse(field, value, "a tuple of str")
    for part in value:
        if type(part) is not str:  # it may have no hash, or one that takes a stack as deep as it is
            return _checked_path(value, field)
    found = _path(value, field)
    _last_path = value, found
    return found


_last_path: tuple[tuple[str, ...], str] = ((), "")
"""The last tuple of texts and its text: the same tuple object need not be checked again."""


@lru_cache(maxsize=4096)
def _path(value: tuple[str, ...], field: str) -> str:
    return _checked_path(value, field)


def _checked_path(value: tuple[object, ...], field: str) -> str:
    return collection_text(tuple([text(part, f"{field}[{place}]") for place, part in enumerate(value)]))


def document_id(value: str, field: str) -> str:
    """Return an id that derives from other fields, if it fits into the indexes of every engine."""
    if len(value) > LONGEST_ID // 4 and len(value.encode()) > LONGEST_ID:
        refuse(field, f"{value[:20]}…", f"a collection and a key of {LONGEST_ID} bytes at most, together")
    return value


def binary(value: object, field: str) -> bytes:
    """Return the value if it is bytes."""
    if type(value) is not bytes:
        refuse(field, value, "bytes")
    return value


def vector(value: object, field: str) -> bytes:
    """Return a list of numbers encoded in single precision."""
    if type(value) is not list or not value:
        refuse(field, value, "a list of numbers that is not empty")
    numbers = [real(number, f"{field}[{place}]") for place, number in enumerate(value)]
    try:
        return struct.pack(f"<{len(numbers)}f", *numbers)
    except OverflowError:
        refuse(field, max(numbers, key=abs), "numbers that fit single precision")


def numbers_of(data: bytes) -> list[float]:
    """Return the numbers that `vector` has encoded."""
    return [*struct.unpack(f"<{len(data) // 4}f", data)]


def count(value: object, field: str) -> int:
    """Return the value if it is an integer that fits the seed's u32."""
    if type(value) is not int or not 0 <= value <= LARGEST_COUNT:
        refuse(field, value, f"a whole number from 0 to {LARGEST_COUNT}")
    return value


def whole(value: object, field: str) -> int:
    """Return the value if it is an integer from 0 to the largest that every engine stores."""
    if type(value) is not int or not 0 <= value <= LARGEST_INTEGER:
        refuse(field, value, f"a whole number from 0 to {LARGEST_INTEGER}")
    return value


def version(value: object, field: str) -> int:
    """Return the version that the record has after the next write."""
    if type(value) is not int or not 0 <= value < LARGEST_INTEGER:
        refuse(field, value, "a version number, 0 for a record that was never stored")
    return value + 1


def real(value: object, field: str) -> float:
    """Return the value as a float if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse(field, value, "a number")
    try:
        number = float(value)
    except OverflowError:
        refuse(field, value, "a number that fits a double")
    if not math.isfinite(number):
        refuse(field, value, "a finite number")
    return number


def flag(value: object, field: str) -> int:
    """Return 0 or 1 for a bool."""
    if not isinstance(value, bool):
        refuse(field, value, "True or False")
    return int(value)


def moment(value: object, field: str) -> int:
    """Return an aware time as microseconds since 1970; fractions of a microsecond are refused."""
    if not isinstance(value, datetime):
        refuse(field, value, "an aware datetime")
    if value.utcoffset() is None:
        refuse(field, value, "an aware datetime, such as datetime.now(UTC)")
    count_of_microseconds = microseconds(value)
    try:
        is_whole = from_microseconds(count_of_microseconds) == value.astimezone(UTC)
    except OverflowError:
        refuse(field, value, "a time within the years 1 to 9999 in UTC")
    if not is_whole:
        refuse(field, value, "a time in whole microseconds")
    return count_of_microseconds


def past_claims(value: object, field: str) -> str:
    """Return a tuple of past claims as the JSON text of `PAST_CLAIMS`."""
    if type(value) is not tuple or len(value) > MOST_PAST_CLAIMS:
        refuse(field, value, f"a tuple of at most {MOST_PAST_CLAIMS} PastClaim")
    return encode_json([_past_claim(each, f"{field}[{place}]") for place, each in enumerate(value)]).decode()


def _past_claim(value: object, field: str) -> tuple[ColumnValue, ...]:
    if type(value) is not PastClaim:
        refuse(field, value, "a PastClaim")
    return (
        count(value.number, f"{field}.number"),
        identifier(value.agent_id, f"{field}.agent_id"),
        None if value.started_at is None else moment(value.started_at, f"{field}.started_at"),
        moment(value.ended_at, f"{field}.ended_at"),
        member(ClaimOutcome, value.outcome, f"{field}.outcome").value,
        None if value.error is None else _short_error(value.error, f"{field}.error"),
    )


def _short_error(value: object, field: str) -> str:
    error = text(value, field)
    if len(error) > LONGEST_ERROR:
        refuse(field, error, f"at most {LONGEST_ERROR} characters")
    return error


_decode_claims = msgspec.json.Decoder(list[tuple[int, str, int | None, int, ClaimOutcome, str | None]]).decode


def past_claims_of(value: str) -> tuple[PastClaim, ...]:
    """Return the tuple of past claims that `past_claims`, or the engine, has encoded."""
    claims = [
        PastClaim(
            number=number,
            agent_id=agent_id,
            started_at=None if started_at is None else from_microseconds(started_at),
            ended_at=from_microseconds(ended_at),
            outcome=outcome,
            error=error,
        )
        for number, agent_id, started_at, ended_at, outcome, error in _decode_claims(value)
    ]
    return tuple(claims)


def accept_texts(table: Table[Any], model: Any) -> None:
    """Replace the texts of enum members in a record by the members."""
    for column in table.choices:
        assert column.choices is not None
        value = getattr(model, column.name)
        if type(value) is not column.choices:
            setattr(model, column.name, member(column.choices, value, f"{table.label}.{column.name}"))


def json_text(value: object, field: str, kind: Kind = Kind.JSON) -> str:
    """Return the value as JSON text, if decoding yields an equal value.

    msgspec encodes NaN as null, and tuples, datetimes or number keys as the nearest JSON: such values are refused.
    """
    expected, decode = _JSON_SHAPE if kind is _JSON else _SHAPES[kind]
    if HAS_SHORT_STACK and is_nested_deeper(value, DEEPEST_NESTING):
        refuse(field, type(value).__name__, f"JSON that is nested {DEEPEST_NESTING} deep at most, or less deeply")
    try:
        data = encode_json(value)
        is_equal = bool(decode(data) == value)
    except RecursionError:
        refuse(field, type(value).__name__, "JSON that is nested less deeply")
    except UnicodeEncodeError:
        refuse(field, value, f"{expected} without lone surrogates")
    except MemoryError:
        raise
    except Exception:
        # A value whose own methods raise, as in a comparison, is not JSON.
        is_equal = False
    is_long = is_equal and len(data) > LONGEST_SHALLOW_JSON
    if is_long and has_many_levels(data) and is_nested_deeper(value, DEEPEST_NESTING):
        refuse(field, type(value).__name__, f"JSON that is nested {DEEPEST_NESTING} deep at most")
    if not is_equal:
        place, culprit = _first_difference(value, "")
        parts = " (None, bool, int, finite float, str, list, dict)" if kind is Kind.JSON else ""
        refuse(f"{field}{place}", culprit, expected + parts)
    return data.decode()


def has_many_levels(data: bytes) -> bool:
    """Return whether a text may be nested too deep; counts all opening brackets, even those within strings."""
    return data.count(b"[") + data.count(b"{") > DEEPEST_NESTING


def _first_difference(value: object, place: str) -> tuple[str, object]:
    """Find the innermost value that JSON cannot hold; the whole value if each part can."""
    while True:
        parts: Iterable[tuple[object, object]] = ()
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                return place, value
            parts = dict.items(value)  # a subclass may have others
        elif isinstance(value, list):
            parts = enumerate(list.__iter__(value))
        culprits = ((name, part) for name, part in parts if not _is_json(part))
        name, culprit = next(culprits, (None, value))
        if name is None:
            return place, value
        place, value = f"{place}[{shown(name)}]", culprit


def _is_json(value: object) -> bool:
    try:
        return bool(decode_json(encode_json(value)) == value)
    except Exception:
        return False


def column_value(column: Column, value: object, field: str) -> ColumnValue:
    """Return any field's value as its column stores it; `None` only where the column is nullable."""
    if value is None and column.is_nullable:
        return None
    if column.choices is not None:
        chosen: Any = member(column.choices, value, field)
        rank_or_text: str | int = chosen.rank if column.kind is Kind.RANK else chosen.value
        return rank_or_text
    if column.kind in _SHAPES:
        return json_text(value, field, column.kind)
    if column.name == "id":
        return identifier(value, field)
    return _CHECKS[column.kind](value, field)


_CHECKS: dict[Kind, Callable[[object, str], ColumnValue]] = {
    Kind.TEXT: text,
    Kind.COUNT: count,
    Kind.VERSION: version,
    Kind.REAL: real,
    Kind.FLAG: flag,
    Kind.TIME: moment,
    Kind.PATH: path,
    Kind.BYTES: binary,
    Kind.VECTOR: vector,
    Kind.CLAIMS: past_claims,
}

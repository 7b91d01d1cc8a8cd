"""The driver's codecs: values travel in binary, in the form that the rows of all engines have."""

import asyncpg

_MICROSECONDS_TO_2000 = 946_684_800_000_000
"""PostgreSQL counts times from the year 2000, our columns from 1970."""

ARRAY_TYPES = (
    "bool", "int2", "int4", "int8", "float4", "float8", "numeric", "text", "varchar", "timestamptz", "json", "jsonb",
    "bytea", "name", "oid",
)  # fmt: skip
"""The types of values and arrays in our statements, also after a column is altered."""

_FALSE, _TRUE = b"\0", b"\1"


async def set_codecs(connection: asyncpg.Connection) -> None:
    """Let a connection read and write times as whole microseconds since 1970, flags as 0 and 1, JSON as text."""
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", encoder=_encode_time, decoder=_decode_time, format="tuple"
    )
    await connection.set_type_codec(
        "bool", schema="pg_catalog", encoder=_encode_flag, decoder=_decode_flag, format="binary"
    )


async def learn_arrays(connection: asyncpg.Connection) -> None:
    """Make the driver introspect array types now, in one transaction, instead of when a statement first uses one.

    The introspection takes two round trips, between which a pooler would switch to another session.
    """
    async with connection.transaction():
        await connection.prepare(f"SELECT {', '.join(f'NULL::pg_catalog.{type}[]' for type in ARRAY_TYPES)}", name="")


def _encode_time(microseconds: int) -> tuple[int]:
    return (microseconds - _MICROSECONDS_TO_2000,)


def _decode_time(count: tuple[int]) -> int:
    return count[0] + _MICROSECONDS_TO_2000


def _encode_flag(flag: int) -> bytes:
    return _TRUE if flag else _FALSE


def _decode_flag(data: bytes) -> int:
    return data[0]

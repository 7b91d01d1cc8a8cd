"""The messages to JavaScript, and its answers, as text."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, starmap
from typing import Any, Self
from uuid import uuid4

import msgspec

from swarm_persistence.engines.rows.indexeddb.fetched_table import Request
from swarm_persistence.engines.rows.indexeddb.keys import text_keys_of
from swarm_persistence.engines.rows.indexeddb.stored_bytes import (
    LONGEST_IN_ROW,
    StoredBytes,
    pieces_of,
    references,
)
from swarm_persistence.engines.rows.overlays import Difference, Overlays
from swarm_persistence.engines.rows.planner import indexes_of
from swarm_persistence.schema.codec import Row

_encode = msgspec.json.Encoder().encode
_decode_answers = msgspec.json.Decoder(list[list[tuple[Any, ...] | None] | int]).decode

State = tuple[int, dict[str, list[int]]]
"""The number of commits, and the last sequence and last change number of each table."""

_MARK: dict[str, Any] = {}
"""Stands in the text of a row where it holds bytes; no column holds an object as such. For bytes in pieces, the object
has their `id` and `size`."""

_REFERENCE = '{"id":"'
"""Is in a text if a row has a reference to bytes in pieces: within a column's text, the marks are escaped."""
_FIELDS_OF_REFERENCE = {*StoredBytes.__struct_fields__}

META = "meta"
"""The store of the engine's own data."""
NOTHING_MORE = "{}"
"""The message that ends a transaction."""
FETCH_STATE: Request = ("get", META, ["state"])


def removes_only(differences: Sequence[Difference]) -> bool:
    """Tell whether a write frees space only, so that it must succeed where no space is left."""
    return not any(difference.put for difference in differences)


def fetch(requests: Sequence[Request]) -> str:
    """Return the message that requests rows."""
    return _encode({"fetch": requests}).decode()


def answers_of(text: str) -> list[Any]:
    """Return the answers to the requests of a message: rows, `None` for each missing one, or a number."""
    if not isinstance(text, TextWithBytes) and _REFERENCE not in text:
        return _decode_answers(text)
    blobs = iter(text.blobs if isinstance(text, TextWithBytes) else ())
    answers = _decode_answers(str(text))  # the decoder takes no subclass
    return [answer if isinstance(answer, int) else _with_bytes(answer, blobs) for answer in answers]


def state_of(answer: Any) -> State:
    """Return the state from the answer to `FETCH_STATE`."""
    commits, counters = answer[0]
    return commits, counters


def next_state(state: State, overlays: Overlays) -> dict[str, State]:
    """Return the meta data after a commit of a transaction's writes: one more commit, and the numbers it has used."""
    commits, counters = state
    return {"state": (commits + 1, {**counters, **overlays.counters()})}


class TextWithBytes(str):
    """A message or an answer whose rows hold bytes: these travel beside the text, which has marks in their places."""

    blobs: tuple[bytes, ...]
    long: tuple[tuple[str, bytes], ...]

    def __new__(cls, text: str, blobs: Sequence[bytes], long: Sequence[tuple[str, bytes]] = ()) -> Self:
        """Return the text with bytes in the order of their marks, and those to store in pieces, each with its id."""
        whole = super().__new__(cls, text)
        whole.blobs = tuple(blobs)
        whole.long = tuple(long)
        return whole

    def pieces(self) -> Iterator[tuple[tuple[str, int], memoryview]]:
        """Yield the key and the bytes of each piece to store."""
        return chain.from_iterable(starmap(pieces_of, self.long))


def write(differences: Sequence[Difference], meta: Mapping[str, Any], then: Sequence[Request] | None = None) -> str:
    """Return the message that removes and puts rows, and then requests more, or ends the transaction."""
    rows: list[str] = []
    blobs: list[bytes] = []
    long: list[tuple[str, bytes]] = []
    dropped: list[str] = []
    put: dict[str, Any] = {}
    remove: dict[str, list[Any]] = {}
    for difference in differences:
        table = difference.table
        id_place = table.positions["id"]
        if difference.removed:
            remove[table.name] = [row[id_place] for row in difference.removed]
        if difference.put:
            indexes = indexes_of(table)
            keys_of = [text_keys_of(table, index).key_of for index in indexes]
            put[table.name] = {
                "keys": [index.name for index in indexes],
                "records": [(row[id_place], *[key_of(row) for key_of in keys_of]) for row in difference.put],
            }
            if table.binary_places:
                taken = [_take_bytes(row, table.binary_places, rows, blobs, long) for row in difference.put]
                put[table.name]["blobs"] = taken
            else:
                rows += [_encode(row).decode() for row in difference.put]
        dropped += _dropped(difference)
    order: dict[str, Any] = {"remove": remove, "put": put, "meta": meta}
    if dropped:
        order["drop"] = dropped
    if long:
        order["hasPieces"] = True
    if then is None:
        order["isLast"] = True
    else:
        order["fetch"] = then
    text = "\n".join([_encode(order).decode(), *rows])
    return TextWithBytes(text, blobs, long) if blobs or long else text


def _take_bytes(
    row: Row, binary: Sequence[int], rows: list[str], blobs: list[bytes], long: list[tuple[str, bytes]]
) -> int:
    """Add the text of a row, and the bytes that it holds, the long ones apart; return how many are not long."""
    cells: list[Any] = [*row]
    count = 0
    for place in binary:
        cell = cells[place]
        if type(cell) is not bytes:
            continue  # none, or stored already
        if len(cell) > LONGEST_IN_ROW:
            cells[place] = StoredBytes(uuid4().hex, len(cell))
            long.append((cells[place].id, cell))
        else:
            blobs.append(cell)
            cells[place] = _MARK
            count += 1
    rows.append(_encode(cells).decode())
    return count


def _dropped(difference: Difference) -> list[str]:
    """Return the ids of bytes in pieces that no row has any more."""
    places = difference.table.binary_places
    if not places:
        return []
    kept = {each for row in difference.put for each in references(row, places)}
    before = chain(difference.removed, difference.replaced)
    return [each.id for row in before for each in references(row, places) if each not in kept]


def _with_bytes(rows: Sequence[Any], blobs: Iterator[bytes]) -> list[Any]:
    return [row and tuple([_cell(cell, blobs) if type(cell) is dict else cell for cell in row]) for row in rows]


def _cell(cell: dict[str, Any], blobs: Iterator[bytes]) -> Any:
    if cell == _MARK:
        return next(blobs)
    return StoredBytes(**cell) if cell.keys() == _FIELDS_OF_REFERENCE else cell

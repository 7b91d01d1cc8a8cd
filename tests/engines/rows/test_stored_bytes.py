"""Long bytes beside their rows: what a message stores, keeps and drops, and which of them a read fetches."""

from typing import Any

import msgspec
import pytest

from swarm_persistence.engines.reads import Get, Page, Select, Sizes, Values
from swarm_persistence.engines.rows.changes import Changes
from swarm_persistence.engines.rows.indexeddb import messages
from swarm_persistence.engines.rows.indexeddb.exchange import evaluated
from swarm_persistence.engines.rows.indexeddb.messages import TextWithBytes
from swarm_persistence.engines.rows.indexeddb.stored_bytes import LONGEST_IN_ROW, PIECE_BYTES, PIECES, StoredBytes
from swarm_persistence.engines.rows.indexeddb.view import DatabaseView
from swarm_persistence.engines.rows.overlays import Difference, Overlays
from swarm_persistence.engines.rows.reading import evaluate
from swarm_persistence.engines.rows.steps import compile_steps
from swarm_persistence.engines.steps import Take
from swarm_persistence.errors import DatabaseError
from swarm_persistence.models import DocumentModel
from swarm_persistence.query.query import Query
from swarm_persistence.schema.codec import Row, codec_of
from swarm_persistence.schema.tables import DOCUMENTS

DATA = DOCUMENTS.positions["data"]
LONG = bytes(range(256)) * (PIECE_BYTES // 100)
STORED = StoredBytes("bytes-1", len(LONG))


def row(data: object, sequence: int = 1) -> Row:
    values: list[Any] = [*codec_of(DocumentModel).encode(DocumentModel.new(("a",), str(sequence)))]
    values[DATA] = data
    return (*values, *(0 for _ in DOCUMENTS.hidden), sequence)


def order_of(message: str) -> dict[str, Any]:
    order: dict[str, Any] = msgspec.json.decode(str(message).split("\n")[0])
    return order


def change(before: Row, after: Row | None) -> str:
    replaced, removed, put = ([], [before], []) if after is None else ([before], [], [after])
    return messages.write([Difference(DOCUMENTS, removed, replaced, put)], {})


def test_long_bytes_travel_in_pieces_and_their_row_refers_to_them() -> None:
    message = messages.write([Difference(DOCUMENTS, [], [], [row(LONG)])], {})

    assert isinstance(message, TextWithBytes)
    pieces = [(key, bytes(piece)) for key, piece in message.pieces()]
    assert b"".join(piece for _, piece in pieces) == LONG
    assert {len(piece) for _, piece in pieces[:-1]} == {PIECE_BYTES}
    ((answer,),) = messages.answers_of(f"[[{str(message).partition(chr(10))[2]}]]")
    assert answer[DATA] == StoredBytes(pieces[0][0][0], len(LONG))
    assert [key for key, _ in pieces] == [(answer[DATA].id, number) for number in range(len(pieces))]
    assert (order_of(message)["hasPieces"], message.blobs) == (True, ())


@pytest.mark.parametrize("size", [0, 1, LONGEST_IN_ROW])
def test_short_bytes_stay_in_their_row(size: int) -> None:
    message = messages.write([Difference(DOCUMENTS, [], [], [row(bytes(size))])], {})

    assert isinstance(message, TextWithBytes)
    assert message.blobs == (bytes(size),)
    assert not message.long


@pytest.mark.parametrize("after", [None, row(LONG), row(b"short"), row(None)])
def test_pieces_that_no_row_refers_to_any_more_are_dropped(after: Row | None) -> None:
    assert order_of(change(row(STORED), after))["drop"] == [STORED.id]


def test_a_change_of_other_columns_leaves_the_pieces_as_they_are() -> None:
    message = change(row(STORED), row(STORED))

    assert "drop" not in order_of(message)
    assert not isinstance(message, TextWithBytes)


EVERY = Query(DOCUMENTS)


@pytest.mark.parametrize(
    ("read", "is_fetched"),
    [
        (Get(DOCUMENTS, str(row(None)[0])), True),
        (Select(EVERY), True),
        (Page(EVERY), True),
        (Values(EVERY, ("key", "data")), True),
        (Values(EVERY, ("key", "version")), False),
        (Sizes(EVERY), False),
    ],
)
def test_a_read_fetches_long_bytes_if_it_returns_them(read: Any, is_fetched: bool) -> None:
    view = DatabaseView()
    exchange = evaluated(view, lambda: evaluate(read, view.table))
    next(exchange)
    rows = msgspec.json.encode([[row(STORED)]]).decode()

    if not is_fetched:
        with pytest.raises(StopIteration):
            exchange.send(rows)
        return
    assert order_of(exchange.send(rows))["fetch"] == [["pieces", PIECES, STORED.id, STORED.size]]
    with pytest.raises(StopIteration) as end:
        exchange.send(TextWithBytes("[[[{}]]]", [LONG]))
    found = end.value.value if isinstance(read, Get) else end.value.value[0]
    assert found[DATA] == LONG


def test_a_record_that_is_taken_has_its_bytes_and_they_are_dropped() -> None:
    view = DatabaseView()
    view.want_state()

    def run() -> tuple[Any, Overlays]:
        overlays = Overlays(view.table)
        return Changes(overlays.table).run(compile_steps([Take(EVERY)])), overlays

    exchange = evaluated(view, run)
    next(exchange)
    exchange.send(msgspec.json.encode([[[3, {"documents": [1, 0]}]]]).decode())
    request = exchange.send(msgspec.json.encode([[row(STORED)]]).decode())
    assert order_of(request)["fetch"] == [["pieces", PIECES, STORED.id, STORED.size]]

    with pytest.raises(StopIteration) as end:
        exchange.send(TextWithBytes("[[[{}]]]", [LONG]))

    (((document,),), overlays) = end.value.value
    assert document.data == LONG
    assert order_of(messages.write(overlays.differences(), {}))["drop"] == [STORED.id]


def test_a_piece_that_is_missing_is_an_error() -> None:
    view = DatabaseView()
    exchange = evaluated(view, lambda: evaluate(Select(EVERY), view.table))
    next(exchange)
    exchange.send(msgspec.json.encode([[row(STORED)]]).decode())

    with pytest.raises(DatabaseError, match="a piece of the bytes of a stored document is missing"):
        exchange.send("[[null]]")

"""The messages to JavaScript, and its answers, as text."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from swarm_persistence.engines.rows.indexeddb.fetched_table import Request
from swarm_persistence.engines.rows.indexeddb.keys import text_keys_of
from swarm_persistence.engines.rows.overlays import Difference, Overlays
from swarm_persistence.engines.rows.planner import indexes_of

_encode = msgspec.json.Encoder().encode
_decode_answers = msgspec.json.Decoder(list[list[tuple[Any, ...] | None] | int]).decode

State = tuple[int, dict[str, list[int]]]
"""The number of commits, and the last sequence and last change number of each table."""

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
    return _decode_answers(text)


def state_of(answer: Any) -> State:
    """Return the state from the answer to `FETCH_STATE`."""
    commits, counters = answer[0]
    return commits, counters


def next_state(state: State, overlays: Overlays) -> dict[str, State]:
    """Return the meta data after a commit of a transaction's writes: one more commit, and the numbers it has used."""
    commits, counters = state
    return {"state": (commits + 1, {**counters, **overlays.counters()})}


def write(differences: Sequence[Difference], meta: Mapping[str, Any], then: Sequence[Request] | None = None) -> str:
    """Return the message that removes and puts rows, and then requests more, or ends the transaction."""
    rows: list[str] = []
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
            rows += [_encode(row).decode() for row in difference.put]
    order: dict[str, Any] = {"remove": remove, "put": put, "meta": meta}
    if then is None:
        order["isLast"] = True
    else:
        order["fetch"] = then
    return "\n".join([_encode(order).decode(), *rows])

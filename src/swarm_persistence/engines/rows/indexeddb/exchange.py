"""Evaluates on fetched rows, as a generator: it yields messages that fetch rows, and is sent the answers.

Steps and reads are plain functions of a `RowSource`, written once for both row engines. Memory has all rows, and calls
them once. Here they run on the rows fetched so far: a missing row counts as absent, and the view notes it. Then the
result is discarded, the missing rows are fetched, and the function runs again. Most runs know their rows beforehand,
and few need more than one repetition; all operations of a batch share each fetch.

Two drivers run these generators: `Bridge` in the callbacks of one IndexedDB transaction, which cannot be awaited, and
`IndexedDbSession` in an event loop, with a transaction for each fetch.
"""

from collections.abc import Callable, Generator
from typing import TypeVar

from swarm_persistence.clock import ManualClock, now, use_clock
from swarm_persistence.engines.rows.indexeddb import messages
from swarm_persistence.engines.rows.indexeddb.view import DatabaseView

T = TypeVar("T")

Exchange = Generator[str, str, T]
"""Yields messages, is sent the text of each answer, and returns a result."""


def evaluated(view: DatabaseView, evaluate: Callable[[], T]) -> Exchange[T]:
    """Fetch what the view wants, evaluate, and repeat until no row is missing."""
    # The clock is frozen, or each repetition would ask for the rows of another moment.
    clock = ManualClock(now())
    while True:
        if view.is_missing:
            fetch = view.fetch()
            fetch.receive(messages.answers_of((yield messages.fetch(fetch.requests))))
        try:
            with use_clock(clock):
                result = evaluate()
        except Exception:
            if not view.is_missing:
                raise
        else:
            if not view.is_missing:
                return result

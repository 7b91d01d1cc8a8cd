"""The rows of a table in memory."""

import gc

from swarm_persistence.engines.rows.tables import RowTable
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.tables import EVENTS
from swarm_persistence_conformance.records import an_event


def test_the_garbage_collector_sets_no_rows_aside_to_look_at_them_all_again() -> None:
    table = RowTable(EVENTS)
    encode = codec_of(EVENTS.model).encode
    for number in range(1, 4):
        table.add((*encode(an_event(f"event-{number}")), number))

    gc.collect()

    assert gc.is_tracked(table.rows)

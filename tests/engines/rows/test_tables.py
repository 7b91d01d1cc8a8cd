"""The rows of a table in memory."""

import gc

import pytest

from swarm_persistence.engines.rows.indexeddb.keys import text_keys_of
from swarm_persistence.engines.rows.indexes import keys_of
from swarm_persistence.engines.rows.tables import RowTable
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.tables import EVENTS, TASKS
from swarm_persistence_conformance.records import an_event


def test_the_garbage_collector_sets_no_rows_aside_to_look_at_them_all_again() -> None:
    table = RowTable(EVENTS)
    encode = codec_of(EVENTS.model).encode
    for number in range(1, 4):
        table.add((*encode(an_event(f"event-{number}")), number))

    gc.collect()

    assert gc.is_tracked(table.rows)


@pytest.mark.parametrize(
    ("status", "key", "is_held"),
    [("pending", "k", True), ("pending", None, False), ("completed", "k", False), ("completed", None, False)],
)
def test_an_index_of_certain_values_and_a_present_one_holds_rows_with_both(
    status: str, key: str | None, is_held: bool
) -> None:
    (index,) = [index for index in TASKS.indexes if index.name == "tasks_ready_by_concurrency_key"]
    values = {"status": status, "concurrency_key": key, "unmet_dependencies": 0, "is_delayed": 0}
    values |= {"task_type": "t", "priority": 1, "sequence": 7}
    row = tuple([values.get(name) for name in TASKS.positions])

    assert (keys_of(TASKS, index).entry_of(row) is not None) is is_held
    assert (text_keys_of(TASKS, index).key_of(row) is not None) is is_held

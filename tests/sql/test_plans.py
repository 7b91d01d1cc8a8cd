"""No statement of the storage's own verbs reads a whole table, or sorts."""

import apsw
import pytest

from sql.verbs import COORDINATION, READS, VERBS, WRITES
from sqlite.tracing import Watch
from swarm_persistence import SqliteStorage
from swarm_persistence.schema.tables import TABLES

_STEPS_WITHOUT_A_PLAN = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "PRAGMA", "INSERT")
_WHOLE_INDEX = {
    "list_agents": "SCAN agents USING INDEX agents_by_age",
    "get_pending_tasks": "SCAN tasks USING INDEX tasks_pending",  # which holds the pending only
}
_FEW_ROWS = ("json_each", "VALUES CLAUSE", "SCAN sized")
"""What is scanned whole: values of the statement itself, and the few rows that a search has found for one write."""
_IN_ORDER = {
    "get_ready_tasks": "SCAN tasks USING INDEX tasks_ready",
    "get_blocked_tasks": "SCAN tasks USING INDEX tasks_pending",
    "watch_events": "SEARCH events USING INTEGER PRIMARY KEY (rowid>?)",
    "watch_messages": "SCAN messages",  # the last one: its place in the log
    "watch_documents": "SCAN documents USING COVERING INDEX documents_changed",  # the last one: its place
    "watch_tasks_of_group": "SEARCH tasks USING INDEX tasks_changed (change_number>? AND change_number<?)",
    "watch_tasks": "SEARCH tasks USING INDEX tasks_changed (change_number>?)",
}
"""Verbs that walk along an index, or the rows themselves, in their order, and stop at a limit."""


async def plans_of(filled: SqliteStorage, watch: Watch, verb: str) -> dict[str, list[str]]:
    """Run a verb and return the plan of each of its statements."""
    watch.forget_statements()
    await VERBS[verb](filled)
    statements = [statement for statement in watch.statements if not statement.startswith(_STEPS_WITHOUT_A_PLAN)]
    connection = apsw.Connection(filled.path)
    plans = {statement: _plan_of(connection, statement) for statement in statements}
    connection.close()
    return plans


def _plan_of(connection: apsw.Connection, statement: str) -> list[str]:
    values = (None,) * statement.count("?")
    plan = [detail for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    # The first has one row, of the second all are read.
    return [step for step in plan if step != "SCAN change_floor" and not step.startswith("SCAN task_limits")]


class TestPlans:
    @pytest.mark.parametrize("verb", [verb for verb in (*READS, *WRITES) if verb not in {**_WHOLE_INDEX, **_IN_ORDER}])
    async def test_a_verb_finds_its_rows_by_an_index_and_sorts_nothing(
        self, filled: SqliteStorage, watch: Watch, verb: str
    ) -> None:
        plans = await plans_of(filled, watch, verb)

        assert plans or verb.startswith(("store", "put", "repository_save"))
        for statement, plan in plans.items():
            steps = [step for step in plan if not any(name in step for name in _FEW_ROWS)]
            assert not [step for step in steps if "SCAN" in step or "TEMP B-TREE" in step], (statement, plan)
            assert any(step.startswith("SEARCH") for step in steps), (statement, plan)

    @pytest.mark.parametrize("verb", _WHOLE_INDEX)
    async def test_what_asks_for_all_of_an_index_reads_it_in_its_order(
        self, filled: SqliteStorage, watch: Watch, verb: str
    ) -> None:
        plans = await plans_of(filled, watch, verb)

        assert list(plans.values()) == [[_WHOLE_INDEX[verb]]]

    @pytest.mark.parametrize("verb", _IN_ORDER)
    async def test_a_verb_walks_in_its_order_and_sorts_nothing(
        self, filled: SqliteStorage, watch: Watch, verb: str
    ) -> None:
        plans = await plans_of(filled, watch, verb)

        steps = [step for plan in plans.values() for step in plan]
        assert _IN_ORDER[verb] in steps
        assert not [step for step in steps if "TEMP B-TREE" in step or step in ("SCAN tasks", "SCAN documents")]

    @pytest.mark.parametrize(
        ("verb", "index"),
        [
            ("list_agents_by_status", "agents_by_status"),
            ("get_pending_tasks", "tasks_pending"),
            ("get_tasks_by_agent", "tasks_by_agent"),
            ("get_events_by_agent", "events_by_agent"),
            ("get_events_by_type", "events_by_type"),
            ("get_events_since", "events_by_time"),
            ("get_messages_between", "messages_by_pair"),
            ("get_unread_messages", "messages_unread_by_priority"),
            ("get_metrics_by_agent", "metrics_by_agent"),
            ("get_aggregated_metrics", "metrics_by_type"),
            ("delete_agent", "tasks_by_agent"),
            ("claim_task", "sqlite_autoindex_tasks_1"),
            ("get_task", "sqlite_autoindex_tasks_1"),
            ("claim_next_task", "tasks_ready"),
            ("claim_next_tasks_of_types", "tasks_ready_by_type"),
            ("claim_next_task", "tasks_delayed"),
            ("requeue_expired_tasks", "tasks_leased"),
            ("requeue_expired_tasks", "agents_by_heartbeat"),
            ("store_task_with_dependencies", "tasks_by_key"),
            ("store_event_once", "events_by_key"),
            ("complete_task", "task_links_by_dependency"),
            ("complete_and_claim", "sqlite_autoindex_tasks_1"),
            ("complete_and_claim", "task_links_by_dependency"),
            ("update_task", "task_links_by_task"),
            ("watch_messages", "messages_by_arrival"),
            ("list_documents_of_label", "documents_by_label"),
            ("list_documents_by_arrival", "documents_by_arrival"),
            ("list_collections", "documents_by_arrival"),
            ("prune", "documents_expiring"),
            ("get_task_throughput", "tasks_changed"),
            ("get_waiting_tasks", "tasks_ready_by_type"),
            ("get_waiting_tasks", "tasks_delayed"),
            ("get_agent_liveness", "tasks_leased"),
            ("get_waiting_dependents", "task_links_by_dependency"),
            ("fire_due_schedules", "schedules_due"),
            ("watch_schedules", "schedules_due"),
        ],
    )
    async def test_a_verb_uses_the_index_that_was_made_for_it(
        self, filled: SqliteStorage, watch: Watch, verb: str, index: str
    ) -> None:
        plans = await plans_of(filled, watch, verb)

        assert any(f"INDEX {index}" in step for plan in plans.values() for step in plan), plans

    async def test_the_aggregate_reads_its_index_only(self, filled: SqliteStorage, watch: Watch) -> None:
        plans = await plans_of(filled, watch, "get_aggregated_metrics")

        (plan,) = plans.values()
        assert [step.partition(" (")[0] for step in plan] == ["SEARCH metrics USING COVERING INDEX metrics_by_type"]

    async def test_numbers_without_groups_come_from_the_index_only(self, filled: SqliteStorage, watch: Watch) -> None:
        plans = await plans_of(filled, watch, "aggregate_metrics")

        (plan,) = plans.values()
        assert [step.partition(" (")[0] for step in plan] == ["SEARCH metrics USING COVERING INDEX metrics_by_type"]

    async def test_prune_passes_over_the_arrivals_once_and_sorts_nothing(
        self, filled: SqliteStorage, watch: Watch
    ) -> None:
        plans = await plans_of(filled, watch, "prune")

        looks = [plan for text, plan in plans.items() if "sequence > " in text]
        assert len(looks) >= 4
        assert all("USING INTEGER PRIMARY KEY" in plan[0] for plan in looks), plans
        for statement, plan in plans.items():
            steps = [step for step in plan if not any(name in step for name in _FEW_ROWS)]
            # Only the look for the last place has no bound: it takes the last row.
            is_last_place = statement.endswith("ORDER BY sequence DESC\nLIMIT ? + 0")
            assert is_last_place or not [step for step in steps if "SCAN" in step], (statement, plan)
            assert "sequence > " not in statement or not [step for step in steps if "TEMP B-TREE" in step], plan

    async def test_every_index_serves_a_verb(self, filled: SqliteStorage, watch: Watch) -> None:
        used: set[str] = set()
        for verb in (*READS, "update_task", *COORDINATION, "delete_agent", "prune"):
            plans = await plans_of(filled, watch, verb)
            used |= {word for plan in plans.values() for step in plan for word in step.split()}

        assert {index.name for table in TABLES for index in table.indexes} - used == set()

"""Facts about the schema: it is what the models say, and its steps lead there and back."""

from typing import Any

import asyncpg
import pytest

from swarm_persistence import MigrationError, PostgresStorage
from swarm_persistence.engines.sql.postgres.dialect import type_of
from swarm_persistence.engines.sql.postgres.migrations import LATEST, MIGRATIONS
from swarm_persistence.query.text import quoted
from swarm_persistence.schema.tables import SEQUENCE, TABLES, TASKS, Index, Kind, Table
from swarm_persistence_conformance.records import a_task

_LONG_TEXTS = (
    "task_type",
    "event_type",
    "metric_type",
    "unit",
    "label",
    "group",
    "concurrency_key",
    "required_capabilities",
)

# Each update of a task adds an entry to each index that holds it. So here, one serves those of two of the description.
_BY_READINESS = Index(
    "tasks_by_readiness", ("unmet_dependencies", "is_delayed", "-priority"), where=(("status", "pending"),)
)
_SERVED_BY_IT = ("tasks_pending", "tasks_ready")

COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod), NOT attnotnull, coalesce(collname, '')
FROM pg_attribute LEFT JOIN pg_collation ON pg_collation.oid = attcollation
WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped
"""


# What no other engine needs: of the tasks that have become ready after they were stored.
_OWN = """\
CREATE INDEX tasks_ready_again ON {schema}.tasks USING btree \
("left"(task_type, 200) NULLS FIRST, priority DESC NULLS LAST, ((sequence + 0))) WHERE \
CASE WHEN ((status = 'pending'::text) AND (unmet_dependencies = 0) AND (is_delayed = false)) \
THEN ((version > 1) OR (run_at IS NOT NULL) OR (json_array_length(dependencies) > 0)) ELSE false END"""


def indexes_of(table: Table[Any]) -> list[Index]:
    """Return the indexes that a table has on PostgreSQL."""
    own = [_BY_READINESS] if table is TASKS else []
    return [*own, *(index for index in table.indexes if index.name not in _SERVED_BY_IT)]


def written(index: Index, schema: str, table: str) -> str:
    """Return an index of the tables' description as PostgreSQL tells it."""
    columns = []
    for column in index.columns:
        name, descends = column.removeprefix("-"), column.startswith("-")
        if "|" in name:
            first, second = name.split("|")
            columns += [f"LEAST({first}, {second}) NULLS FIRST", f"GREATEST({first}, {second}) NULLS FIRST"]
        elif name in ("change_number", "id"):
            columns.append(name)
        else:
            shown = f'"{name}"' if name in ("timestamp", "group") else name
            text = f'"left"({shown}, 200)' if name in _LONG_TEXTS else shown
            columns.append(f"{text} DESC NULLS LAST" if descends else f"{text} NULLS FIRST")
    if not index.is_unique:
        columns.append(SEQUENCE)
    unique = "UNIQUE " if index.is_unique else ""
    text = f"CREATE {unique}INDEX {index.name} ON {schema}.{table} USING btree ({', '.join(columns)})"
    conditions = [_condition(field, value) for field, value in index.where]
    if index.present:
        conditions.append(f"({quoted(index.present)} IS NOT NULL)")
    if len(conditions) > 1:
        return f"{text} WHERE ({' AND '.join(conditions)})"
    return f"{text} WHERE {conditions[0]}" if conditions else text


def _condition(field: str, value: str | int) -> str:
    if field in ("read", "is_delayed", "is_counted", "paused"):
        return f"({field} = {'true' if value else 'false'})"
    return f"({field} = '{value}'::text)" if isinstance(value, str) else f"({field} = {value})"


class TestSchema:
    @pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
    async def test_a_table_has_the_columns_that_its_model_asks_for(
        self, storage: PostgresStorage, schema: str, admin: asyncpg.Connection, table: Table[Any]
    ) -> None:
        found = {tuple(row) for row in await admin.fetch(COLUMNS, f"{schema}.{table.name}")}

        expected = {(SEQUENCE, "bigint", False, "")}
        for name in table.stored_names:
            column = table.column(name)
            kind = type_of(column).replace("timestamptz", "timestamp with time zone")
            collation = "C" if column.kind in (Kind.TEXT, Kind.CHOICE, Kind.PATH) else ""
            expected.add((name, kind, column.is_nullable, collation))
        assert found == expected

    @pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
    async def test_a_table_has_the_indexes_that_its_queries_ask_for(
        self, storage: PostgresStorage, schema: str, admin: asyncpg.Connection, table: Table[Any]
    ) -> None:
        rows = await admin.fetch(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = $1 AND tablename = $2", schema, table.name
        )
        found = {name: text for name, text in rows if not name.startswith(f"{table.name}_pkey")}
        found.pop(f"{table.name}_id_key")

        if table is TASKS:
            assert " ".join(found.pop("tasks_ready_again").split()) == _OWN.format(schema=schema)
        assert found == {index.name: written(index, schema, table.name) for index in indexes_of(table)}

    async def test_the_steps_lead_back_to_nothing_and_forwards_again(
        self, storage: PostgresStorage, schema: str, admin: asyncpg.Connection
    ) -> None:
        await storage.store_task(a_task())

        await storage.migrate_to(0)

        left = await admin.fetch("SELECT relname FROM pg_class WHERE relnamespace = $1::text::regnamespace", schema)
        assert {row[0] for row in left} == {"schema_migrations", "schema_migrations_pkey"}
        await storage.migrate_to(LATEST)
        await storage.store_task(a_task())

    async def test_a_failed_step_leaves_the_schema_as_it_was(
        self, storage: PostgresStorage, schema: str, admin: asyncpg.Connection
    ) -> None:
        await storage.store_task(a_task())
        await admin.execute(f"CREATE VIEW {schema}.in_the_way AS SELECT id FROM {schema}.metrics")

        with pytest.raises(MigrationError, match="left as it is"):
            await storage.migrate_to(0)

        assert await storage.get_task("task-1") is not None
        assert (await storage.migration_status()).version == LATEST

    def test_the_steps_are_numbered_without_a_gap(self) -> None:
        assert [step.version for step in MIGRATIONS] == [*range(1, LATEST + 1)]

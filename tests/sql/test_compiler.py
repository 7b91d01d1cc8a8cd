"""Facts about the compiler: one text per shape, values apart, and nothing of a caller's in the text."""

from typing import Any

import pytest

from swarm_persistence import AgentModel, MetricModel, QueryBuilder, TaskModel, TaskStatus
from swarm_persistence.engines.reads import Aggregate, AggregateFunction
from swarm_persistence.engines.sql.compiler import Compiler
from swarm_persistence.engines.sql.postgres.compiler import PostgresCompiler
from swarm_persistence.engines.sql.postgres.dialect import PostgresDialect
from swarm_persistence.engines.sql.sqlite.dialect import SqliteDialect
from swarm_persistence.engines.steps import Claim, Increment
from swarm_persistence.query.query import Query
from swarm_persistence.query.text import Dialect, listed
from swarm_persistence.schema.tables import AGENTS, EVENTS, SEQUENCE, TABLES, Table

HOSTILE = "'; DROP TABLE agents; --"


@pytest.fixture
def compiler() -> Compiler:
    return Compiler(SqliteDialect())


def agents() -> QueryBuilder[AgentModel]:
    return QueryBuilder(AgentModel)


class Numbered(Dialect):
    """A dialect that numbers its marks, as PostgreSQL's does."""

    def placeholder(self, position: int) -> str:
        return f"${position}"


class TestTexts:
    def test_a_shape_has_one_text(self, compiler: Compiler) -> None:
        first, one = compiler.select(agents().where_eq("name", "a").limit(1).offset(3).query)
        second, two = compiler.select(agents().where_eq("name", "b").limit(2).offset(4).query)

        assert first is second
        assert (one, two) == (["a", 1, 3], ["b", 2, 4])

    @pytest.mark.parametrize("table", TABLES, ids=repr)
    def test_records_are_read_without_hidden_columns(self, table: Table[Any]) -> None:
        texts = [
            Compiler(SqliteDialect()).select(Query(table))[0],
            PostgresCompiler(PostgresDialect("swarm")).read_by_ids(table),
        ]

        for text in texts:
            assert text.startswith(f"SELECT {listed((*table.names, SEQUENCE))}\nFROM ")

    @pytest.mark.parametrize(
        "other",
        [
            agents().where_ne("name", "a"),
            agents().where_eq("agent_type", "a"),
            agents().where_eq("name", "a").where_eq("name", "b"),
            agents().where_eq("name", "a").order_by("name"),
            agents().where_eq("name", "a").order_by("name", desc=True),
            agents().where_eq("name", "a").limit(1),
            agents().where_eq("name", "a").offset(1),
            agents().where_eq("name", "a").limit(1).offset(1),
            agents().where_eq("status", "active"),
            agents().where_eq("status", "idle"),
            agents().where_in("name", ["a"]),
            agents().where_null("name"),
            QueryBuilder(TaskModel).where_eq("task_type", "a"),
        ],
        ids=repr,
    )
    def test_another_shape_has_another_text(self, compiler: Compiler, other: QueryBuilder[Any]) -> None:
        text, values = compiler.select(agents().where_eq("name", "a").query)
        other_text, other_values = compiler.select(other.query)

        assert text != other_text
        assert (text.count("?"), other_text.count("?")) == (len(values), len(other_values))

    @pytest.mark.parametrize("count", [0, 1, 2, 50_000])
    def test_any_number_of_candidates_has_one_text_and_one_value(self, compiler: Compiler, count: int) -> None:
        text, values = compiler.select(agents().where_in("name", ["x"] * count).query)

        assert text is compiler.select(agents().where_in("name", ["a", "b"]).query)[0]
        assert len(values) == 1

    def test_values_of_a_caller_never_stand_in_the_text(self, compiler: Compiler) -> None:
        query = agents().where_eq("name", HOSTILE).where_like("id", HOSTILE).where_in("agent_type", [HOSTILE]).query

        texts = [
            compiler.select(query)[0],
            compiler.count(query)[0],
            compiler.update(query, {"name": HOSTILE})[0],
            compiler.claim(Claim(query, {"name": HOSTILE}))[0],
            compiler.delete(query)[0],
            compiler.aggregate(Aggregate(query, ("name",), (AggregateFunction("count"),)))[0],
        ]

        assert not [text for text in texts if "DROP" in text]

    def test_marks_are_numbered_in_the_order_of_their_values(self) -> None:
        query = agents().where_eq("name", "n").where_in("agent_type", ["a", "b"]).limit(7).offset(8).query

        text, values = Compiler(Numbered()).claim(Claim(query, {"status": "idle", "version": Increment(), "name": "m"}))

        assert [text.index(f"${number}") for number in range(1, 8)] == sorted(
            text.index(f"${number}") for number in range(1, 8)
        )
        assert values == ["idle", "m", "n", "a", "b", 7, 8]


class TestSteps:
    def test_an_update_counts_by_itself(self, compiler: Compiler) -> None:
        query = QueryBuilder(TaskModel).where_eq("id", "t").query

        text, values = compiler.update(query, {"status": TaskStatus.PENDING.value, "version": Increment(2)})

        assert text == (
            "UPDATE tasks\nSET\n  status = ?,\n  version = version + 2,\n"
            "  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), "
            "(SELECT number FROM change_floor)) + 1\nWHERE id = ?"
        )
        assert values == ["pending", "t"]

    def test_an_update_with_a_limit_chooses_the_first_rows(self, compiler: Compiler) -> None:
        due = QueryBuilder(TaskModel).where_eq("retry_count", 3).order_by("created_at").limit(5).query

        text, values = compiler.update(due, {"error": "late"})

        assert " ".join(text.split()).endswith(
            "WHERE retry_count = ? AND sequence IN ( "
            "SELECT sequence FROM tasks WHERE retry_count = ? ORDER BY created_at, sequence LIMIT ? + 0 )"
        )
        assert values == ["late", 3, 3, 5]

    def test_updates_by_other_numbers_have_other_texts(self, compiler: Compiler) -> None:
        query = QueryBuilder(TaskModel).where_eq("id", "t").query

        assert compiler.update(query, {"version": Increment(2)}) != compiler.update(query, {"version": Increment(3)})

    def test_a_claim_changes_the_first_and_returns_them(self, compiler: Compiler) -> None:
        ready = QueryBuilder(TaskModel).where_eq("status", "pending").order_by("priority", desc=True).limit(3).query

        text, values = compiler.claim(Claim(ready, {"status": "assigned"}))

        head, _, returned = text.partition("\nRETURNING ")
        assert head == (
            "UPDATE tasks\nSET\n  status = ?,\n"
            "  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), "
            "(SELECT number FROM change_floor)) + 1\n"
            "WHERE sequence IN (\n  SELECT sequence\n  FROM tasks\n"
            "  WHERE status = 'pending'\n  ORDER BY priority DESC, sequence DESC\n  LIMIT ? + 0\n)"
        )
        assert returned.split(", ")[-1] == "sequence"
        assert values == ["assigned", 3]

    def test_deleting_without_conditions_names_none(self, compiler: Compiler) -> None:
        assert compiler.delete(Query(AGENTS)) == ("DELETE FROM agents", [])

    def test_an_insert_of_many_rows_has_as_few_characters_as_it_can(self, compiler: Compiler) -> None:
        text = compiler.insert(EVENTS, 2)

        assert text.splitlines()[1:] == ["VALUES (?,?,?,?,?,?,?,?,?,?),(?,?,?,?,?,?,?,?,?,?)"]

    def test_an_aggregate_without_groups_is_one_row(self, compiler: Compiler) -> None:
        aggregate = Aggregate(
            QueryBuilder(MetricModel).query, (), (AggregateFunction("max", "value"), AggregateFunction("count"))
        )

        assert compiler.aggregate(aggregate) == ("SELECT max(value), count(*)\nFROM metrics", [])

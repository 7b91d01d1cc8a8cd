"""Compares two storages' answers to random queries over random records."""

import asyncio
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarm_persistence import Model, QueryBuilder, ScheduleModel
from swarm_persistence.schema.tables import Column, Kind, table_of
from swarm_persistence_conformance.fixtures import OpenStorage
from swarm_persistence_conformance.records import MODELS
from swarm_persistence_conformance.strategies import ANY_TEXT, FINITE, TAG_TEXTS, TEXTS, records, values

Step = Callable[[QueryBuilder[Any]], QueryBuilder[Any]]

PATTERNS = st.text(st.sampled_from("%_aAbBéÉe\u0301\ufffd\U0001f600ß\\.[ "), max_size=5) | TEXTS


def queries(model: type[Model]) -> st.SearchStrategy[QueryBuilder[Any]]:
    """Return a strategy of queries with every operator on every queryable field."""
    columns = table_of(model).columns
    comparable = [column for column in columns if column.is_comparable]
    orders = st.builds(_ordered, st.sampled_from(comparable), st.booleans())
    conditions = st.one_of(
        st.sampled_from(comparable).flatmap(_comparison),
        st.sampled_from(columns).map(lambda column: lambda query: query.where_null(column.name)),
        st.sampled_from(columns).map(lambda column: lambda query: query.where_not_null(column.name)),
        st.builds(_like, st.sampled_from([column for column in comparable if _is_text(column)]), PATTERNS),
    )
    if any(column.kind is Kind.TAGS and column.name == "tags" for column in columns):
        findable = TAG_TEXTS.filter(lambda text: "\0" not in text)  # where_tag refuses it
        conditions |= st.builds(_tagged, findable, findable)
    with_keys = [column.name for column in columns if column.kind in (Kind.JSON, Kind.OBJECT, Kind.TAGS)]
    if with_keys:
        conditions |= _json_comparisons(with_keys)
    bounds = st.one_of(
        st.just(lambda query: query),
        st.integers(0, 5).map(lambda limit: lambda query: query.limit(limit)),
        st.integers(0, 5).map(lambda offset: lambda query: query.offset(offset)),
        st.tuples(st.integers(0, 5), st.integers(0, 5)).map(
            lambda pair: lambda query: query.limit(pair[0]).offset(pair[1])
        ),
    )
    return st.builds(
        _built,
        st.just(model),
        st.lists(conditions, max_size=3),
        st.lists(orders, max_size=3),
        bounds,
    )


def assert_queries_agree(open_first: OpenStorage, open_second: OpenStorage, examples: int = 100) -> None:
    """Fail, with a minimal example, if two storages answer a query differently.

    Must not be called within a running event loop.
    """

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def agree(data: st.DataObject) -> None:
        model = data.draw(st.sampled_from(MODELS))
        stored = data.draw(st.lists(records(model), max_size=12, unique_by=lambda record: record.id))
        # The pools of ids and keys are small, so the position makes each unique.
        for position, record in enumerate(stored):
            record.id += f" {position}"
            if isinstance(record, ScheduleModel):
                record.name = record.id
            if getattr(record, "idempotency_key", None) is not None:
                record.idempotency_key += f" {position}"
        asked = data.draw(st.lists(queries(model), min_size=1, max_size=8))
        first, second = asyncio.run(_answers(stored, asked, open_first, open_second))
        for query, answer, other in zip(asked, first, second, strict=True):
            assert answer == other, f"{query!r}\nfirst:  {answer}\nsecond: {other}"

    agree()


async def _answers(
    stored: list[Model], asked: list[QueryBuilder[Any]], *storages: OpenStorage
) -> list[list[tuple[list[str], int]]]:
    answers = []
    for open_storage in storages:
        async with open_storage() as storage:
            await storage.store_many(deepcopy(stored))
            answers.append(
                [
                    (
                        [record.to_json() for record in await storage.repository(query.query.table.model).query(query)],
                        await storage.repository(query.query.table.model).count(query),
                    )
                    for query in asked
                ]
            )
    return answers


def _is_text(column: Column) -> bool:
    return column.kind in (Kind.TEXT, Kind.CHOICE)


def _comparison(column: Column) -> st.SearchStrategy[Step]:
    value = values(column).filter(lambda value: value is not None)
    one = st.sampled_from(["where_eq", "where_ne", "where_gt", "where_ge", "where_lt", "where_le"])
    return st.one_of(
        st.builds(lambda name, value: lambda query: getattr(query, name)(column.name, value), one, value),
        st.lists(value, max_size=3).map(lambda chosen: lambda query: query.where_in(column.name, chosen)),
    )


def _json_comparisons(fields: list[str]) -> st.SearchStrategy[Step]:
    """Return a strategy of conditions on JSON, of which some look for what random JSON often has."""
    keys = st.sampled_from(["", "0", "a", "\0"]) | ANY_TEXT
    number = st.integers(-3, 3) | st.integers() | st.integers(2**62, 2**80) | st.floats(-3, 3) | FINITE
    ordered = st.tuples(st.sampled_from(["eq", "ne", "gt", "ge", "lt", "le"]), number | ANY_TEXT)
    flags = st.tuples(st.sampled_from(["eq", "ne"]), st.booleans())
    return st.builds(
        lambda field, path, compared: lambda query: query.where_json(field, path, *compared),
        st.sampled_from(fields),
        st.lists(keys, max_size=2),
        ordered | flags,
    )


def _ordered(column: Column, is_descending: bool) -> Step:
    return lambda query: query.order_by(column.name, is_descending)


def _like(column: Column, pattern: str) -> Step:
    return lambda query: query.where_like(column.name, pattern)


def _tagged(key: str, value: str) -> Step:
    return lambda query: query.where_tag(key, value)


def _built(model: type[Model], conditions: list[Step], orders: list[Step], bounds: Step) -> QueryBuilder[Any]:
    query: QueryBuilder[Any] = QueryBuilder(model)
    for step in (*conditions, *orders, bounds):
        query = step(query)
    return query

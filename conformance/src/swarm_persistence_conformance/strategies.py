"""Hypothesis strategies of records and field values, from small pools so that random records collide."""

from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from hypothesis import strategies as st

from swarm_persistence import AgentModel, ClaimOutcome, Model, PastClaim, ScheduleModel, TaskModel
from swarm_persistence.schema.tables import Column, Kind, table_of
from swarm_persistence_conformance.records import MODELS, MOMENT

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
PLAIN_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
TEXTS = st.sampled_from(["", "a", "A", "b", "ab", "aB%", "a_b", "é", "É", "e\u0301", "\ufffd", "\U0001f600", "ß", " a"])
IDS = st.sampled_from(["2", "1", "é"])
FAR_AWAY = datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)
TIMES = st.sampled_from(
    [
        *[MOMENT] * 6,  # half are equal, so that some tie
        MOMENT + timedelta(microseconds=1),
        MOMENT - timedelta(seconds=1),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC),
        FAR_AWAY,
    ]
)
# Sums of these are exact in any order, so that every engine computes the same.
# Some of these are ids of random tasks, and one is not.
DEPENDENCIES: st.SearchStrategy[list[str]] = st.builds(list) | st.lists(IDS | st.just("missing"), max_size=2)
REALS = st.sampled_from([-2.5, -1.0, 0.0, 0.25, 1.0, 3.0, 1024.0])
COUNTS = st.sampled_from([0, 1, 2, 7, 2**32 - 1])

TRACE_PARENTS = st.sampled_from([f"00-{digit * 32}-{digit * 16}-01" for digit in "ab"])

FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(min_value=2**62, max_value=2**80) | FINITE | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)

PAST_CLAIMS = st.builds(
    PastClaim,
    number=COUNTS,
    agent_id=IDS,
    started_at=st.none() | TIMES,
    ended_at=TIMES,
    outcome=st.sampled_from(ClaimOutcome),
    error=st.none() | PLAIN_TEXT,
)

TAG_TEXTS = st.sampled_from(["", "a", "b", '"', "\\", '\\"', 'a":"b', 'b","a":"b', ",", "{", "é", "\u2028"]) | ANY_TEXT
"""Texts of tags, some of which look like the JSON around others."""


def values(column: Column) -> st.SearchStrategy[Any]:
    """Return a strategy of a field's values."""
    value = _values(column)
    return st.none() | value if column.is_nullable else value


def _values(column: Column) -> st.SearchStrategy[Any]:
    if column.choices is not None:
        members = list[Enum](column.choices)
        return st.sampled_from([members[0]] * len(members) + members)  # half are equal, so that some tie
    if column.name == "id":
        return IDS
    if column.name == "dependencies":
        return DEPENDENCIES
    if column.name == "trace_parent":
        return TRACE_PARENTS
    if column.name == "expires_at":
        return st.just(FAR_AWAY)  # what has expired is not there
    return {
        Kind.TEXT: TEXTS,
        Kind.COUNT: COUNTS,
        Kind.VERSION: st.just(0),
        Kind.REAL: REALS,
        Kind.FLAG: st.booleans(),
        Kind.TIME: TIMES,
        Kind.JSON: JSON,
        Kind.OBJECT: st.dictionaries(ANY_TEXT, JSON, max_size=2),
        Kind.TEXTS: st.lists(ANY_TEXT, max_size=2),
        Kind.TAGS: st.dictionaries(TAG_TEXTS, TAG_TEXTS, max_size=3),
        Kind.PATH: st.lists(TEXTS, max_size=2).map(tuple),
        Kind.BYTES: st.binary(max_size=8),
        Kind.CLAIMS: st.lists(PAST_CLAIMS, max_size=2).map(tuple),
        Kind.VECTOR: st.lists(REALS, min_size=1, max_size=3),
    }[column.kind]


def records(model: type[Model]) -> st.SearchStrategy[Any]:
    """Return a strategy of records of a model."""
    if model is ScheduleModel:
        return _schedules()
    table = table_of(model)
    columns = table.columns[1:] if table.derived_id else table.columns
    return st.builds(model, **{column.name: values(column) for column in columns})


def _schedules() -> st.SearchStrategy[ScheduleModel]:
    """Return a strategy of schedules that can be stored: their fields have to agree."""
    fixed = {"name": IDS, "every": st.sampled_from([1.0, 3.0, 1024.0]), "timezone": st.just("UTC"), "next_at": TIMES}
    left = {"id", "cron", "task_fields", *fixed}
    columns = table_of(ScheduleModel).columns
    return st.builds(
        ScheduleModel, **fixed, **{column.name: values(column) for column in columns if column.name not in left}
    )


def models() -> st.SearchStrategy[type[Model]]:
    """Return a strategy of models whose fields may have any values; agents and tasks more often, as more verbs do."""
    free = (model for model in MODELS if model is not ScheduleModel)
    return st.sampled_from([AgentModel, AgentModel, TaskModel, TaskModel, TaskModel, *free])


def any_records() -> st.SearchStrategy[Any]:
    """Return a strategy of records of all models."""
    return models().flatmap(records)

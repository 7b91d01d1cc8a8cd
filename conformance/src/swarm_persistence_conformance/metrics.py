"""Facts about metrics and their aggregates."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from swarm_persistence import ConflictError, InvalidQueryError, MetricModel, MetricSummary, SerializationError, Storage
from swarm_persistence_conformance.records import MOMENT, a_metric, after, ids
from swarm_persistence_conformance.refusals import NAIVE, refused

ALWAYS = (after(-1_000_000), after(1_000_000))


def measured(id: str, value: float, agent_id: str | None = "a", unit: str = "ms", age: float = 0) -> MetricModel:
    """Return a metric of `duration_ms`."""
    return a_metric(id, value=value, agent_id=agent_id, unit=unit, timestamp=after(age))


@pytest.mark.asyncio
class TestMetrics:
    """The contract of the metric verbs."""

    async def test_a_new_metric_can_be_stored_and_read(self, storage: Storage) -> None:
        metric = MetricModel.new("duration_ms", 12.5, "ms").with_agent("agent-1").with_tag("host", "a")

        await storage.store_metric(metric)

        assert await storage.get_metrics_by_agent("agent-1", "duration_ms") == [metric]

    async def test_a_known_id_is_refused_with_model_and_id(self, storage: Storage) -> None:
        await storage.store_metric(a_metric())

        with pytest.raises(ConflictError, match="metric 'metric-1'"):
            await storage.store_metric(a_metric(value=99.0))

    async def test_a_refused_duplicate_leaves_the_stored_metric_as_it_is(self, storage: Storage) -> None:
        metric = a_metric(agent_id="a")
        await storage.store_metric(metric)

        with pytest.raises(ConflictError):
            await storage.store_metric(a_metric(value=99.0, agent_id="a"))

        assert await storage.get_metrics_by_agent("a", "duration_ms") == [metric]

    async def test_an_agents_metrics_of_a_type_come_newest_first(self, storage: Storage) -> None:
        other_type = a_metric("tokens", agent_id="a", metric_type="tokens")
        await storage.store_many(
            [measured("old", 1, age=1), measured("new", 2, age=2), measured("b", 3, "b"), measured("none", 4, None)]
        )
        await storage.store_metric(other_type)

        assert ids(await storage.get_metrics_by_agent("a", "duration_ms")) == ["new", "old"]
        assert await storage.get_metrics_by_agent("a", "tokens") == [other_type]

    async def test_metrics_of_one_moment_come_latest_arrival_first(self, storage: Storage) -> None:
        await storage.store_many([measured(id, 1) for id in ("m", "z", "a")])

        assert ids(await storage.get_metrics_by_agent("a", "duration_ms")) == ["a", "z", "m"]

    async def test_an_unknown_agent_has_no_metrics(self, storage: Storage) -> None:
        assert await storage.get_metrics_by_agent("a", "duration_ms") == []


@pytest.mark.asyncio
class TestAggregates:
    """What `get_aggregated_metrics` computes."""

    async def test_an_aggregate_has_the_average_and_tags_for_the_rest(self, storage: Storage) -> None:
        await storage.store_many([measured("1", 1.5, age=1), measured("2", 4.0, age=2), measured("3", 0.5, age=3)])

        (aggregate,) = await storage.get_aggregated_metrics("duration_ms", *ALWAYS)

        assert aggregate == MetricModel(
            id=aggregate.id,
            agent_id="a",
            metric_type="duration_ms",
            value=2.0,
            unit="ms",
            tags={"count": "3", "min": "0.5", "max": "4.0", "sum": "6.0"},
            timestamp=after(3),
        )

    async def test_there_is_one_aggregate_per_agent_and_unit_sorted_by_both(self, storage: Storage) -> None:
        await storage.store_many(
            [measured("1", 1, "b"), measured("2", 2, "a", "s"), measured("3", 3, "a"), measured("4", 4, None)]
        )
        await storage.store_many([measured("5", 5, "a"), measured("6", 6, None)])

        aggregates = await storage.get_aggregated_metrics("duration_ms", *ALWAYS)

        assert [(metric.agent_id, metric.unit, metric.value) for metric in aggregates] == [
            (None, "ms", 5.0),
            ("a", "ms", 4.0),
            ("a", "s", 2.0),
            ("b", "ms", 1.0),
        ]

    async def test_agents_are_sorted_by_code_point(self, storage: Storage) -> None:
        names = ["\U0001f600", "é", "a", "Z", "\ufffd", "_"]
        await storage.store_many([measured(name, 1, name) for name in names])

        aggregates = await storage.get_aggregated_metrics("duration_ms", *ALWAYS)

        assert [metric.agent_id for metric in aggregates] == sorted(names)

    async def test_other_types_do_not_count(self, storage: Storage) -> None:
        await storage.store_many([measured("1", 1), a_metric("2", metric_type="tokens", agent_id="a")])

        (aggregate,) = await storage.get_aggregated_metrics("duration_ms", *ALWAYS)

        assert aggregate.tags["count"] == "1"

    async def test_both_bounds_belong_to_the_span(self, storage: Storage) -> None:
        tick = 0.000_001
        await storage.store_many([measured(str(age), 1, age=age) for age in (-tick, 0, 1, 1 + tick)])

        (aggregate,) = await storage.get_aggregated_metrics("duration_ms", MOMENT, after(1))

        assert aggregate.tags["count"] == "2"

    async def test_bounds_may_be_given_in_unix_seconds(self, storage: Storage) -> None:
        await storage.store_many([measured("1", 1), measured("2", 1, age=10)])
        second = int(MOMENT.timestamp())

        (aggregate,) = await storage.get_aggregated_metrics("duration_ms", second, second + 1)

        assert aggregate.tags["count"] == "1"

    async def test_nothing_to_count_gives_no_aggregate(self, storage: Storage) -> None:
        assert await storage.get_aggregated_metrics("duration_ms", *ALWAYS) == []

    async def test_a_span_that_ends_before_it_starts_holds_nothing(self, storage: Storage) -> None:
        await storage.store_metric(measured("1", 1))

        assert await storage.get_aggregated_metrics("duration_ms", *reversed(ALWAYS)) == []

    async def test_negative_and_zero_values_count(self, storage: Storage) -> None:
        await storage.store_many([measured("1", -3.0), measured("2", 0.0), measured("3", 1.5)])

        (aggregate,) = await storage.get_aggregated_metrics("duration_ms", *ALWAYS)

        assert (aggregate.value, aggregate.tags) == (-0.5, {"count": "3", "min": "-3.0", "max": "1.5", "sum": "-1.5"})

    async def test_whole_numbers_are_aggregated_as_the_floats_they_are(self, storage: Storage) -> None:
        await storage.store_many([measured("1", 1), measured("2", 2)])

        (aggregate,) = await storage.get_aggregated_metrics("duration_ms", *ALWAYS)

        assert (aggregate.value, aggregate.tags) == (1.5, {"count": "2", "min": "1.0", "max": "2.0", "sum": "3.0"})

    async def test_an_aggregate_joins_the_transaction(self, storage: Storage) -> None:
        await storage.store_metric(measured("1", 1))

        async with storage.transaction():
            await storage.store_metric(measured("2", 3))
            (aggregate,) = await storage.get_aggregated_metrics("duration_ms", *ALWAYS)

        assert aggregate.value == 2.0


@pytest.mark.asyncio
class TestMetricSummaries:
    """What `aggregate_metrics` computes."""

    async def test_by_default_there_is_one_summary_of_all(self, storage: Storage) -> None:
        await storage.store_many([measured(str(n), float(n), "ab"[n % 2]) for n in range(1, 6)])

        assert await storage.aggregate_metrics("duration_ms", *ALWAYS) == [
            MetricSummary(
                bucket=None,
                group={},
                values={
                    "avg": 3.0,
                    "min": 1.0,
                    "max": 5.0,
                    "sum": 15.0,
                    "count": 5,
                    "p50": 3.0,
                    "p95": 4.8,
                    "p99": 4.96,
                },
            )
        ]

    async def test_only_what_is_asked_for_is_told_in_its_order(self, storage: Storage) -> None:
        await storage.store_metric(measured("1", 2.0))

        (summary,) = await storage.aggregate_metrics("duration_ms", *ALWAYS, functions=["p75", "count", "p75", "max"])

        assert list(summary.values.items()) == [("p75", 2.0), ("count", 1), ("max", 2.0)]

    @pytest.mark.parametrize("bucket", [10, 10.0, timedelta(seconds=10)])
    async def test_buckets_begin_at_multiples_of_their_length(self, storage: Storage, bucket: Any) -> None:
        ten = MOMENT.replace(second=10, microsecond=0)
        times = [ten - timedelta(microseconds=1), ten, MOMENT, ten + timedelta(seconds=10), ten + timedelta(minutes=2)]
        await storage.store_many([a_metric(str(n), value=float(n), timestamp=time) for n, time in enumerate(times)])

        found = await storage.aggregate_metrics("duration_ms", *ALWAYS, bucket, functions=["count", "sum"])

        assert [(each.bucket, each.values["count"], each.values["sum"]) for each in found] == [
            (ten - timedelta(seconds=10), 1, 0.0),
            (ten, 2, 3.0),
            (ten + timedelta(seconds=10), 1, 3.0),
            (ten + timedelta(minutes=2), 1, 4.0),
        ]

    async def test_buckets_of_any_length_hold_their_metrics(self, storage: Storage) -> None:
        odd = timedelta(seconds=7, microseconds=3)
        times = [datetime(year, 3, 1, 2, 3, 4, 5, UTC) for year in (1, 1900, 1969, 1970, 2026, 9999)]
        await storage.store_many([a_metric(str(n), timestamp=time) for n, time in enumerate(times)])

        found = await storage.aggregate_metrics("duration_ms", times[0], times[-1], odd, functions=["count"])

        begins = [each.bucket for each in found if each.bucket is not None]
        assert [begin.tzinfo for begin in begins] == [UTC] * len(times)
        assert all(begin <= time < begin + odd for begin, time in zip(begins, times, strict=True))
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        assert [(begin - epoch) % odd for begin in begins] == [timedelta(0)] * len(times)

    async def test_a_bucket_that_begins_before_the_year_1_begins_with_it(self, storage: Storage) -> None:
        await storage.store_metric(a_metric(timestamp=datetime(1, 1, 1, tzinfo=UTC)))

        (summary,) = await storage.aggregate_metrics("duration_ms", datetime(1, 1, 1, tzinfo=UTC), MOMENT, 3e9)

        assert summary.bucket == datetime(1, 1, 1, tzinfo=UTC)

    async def test_groups_are_sorted_by_their_fields_with_no_agent_first(self, storage: Storage) -> None:
        agents = ("b", None, "a", "B", "a")
        await storage.store_many([measured(str(n), n, agent, "ms" if n < 4 else "s") for n, agent in enumerate(agents)])

        by_agent = await storage.aggregate_metrics("duration_ms", *ALWAYS, group_by=["agent_id"], functions=["count"])
        by_both = await storage.aggregate_metrics(
            "duration_ms", *ALWAYS, group_by=("unit", "agent_id"), functions=["sum"]
        )

        assert [(each.group, each.values["count"]) for each in by_agent] == [
            ({"agent_id": None}, 1),
            ({"agent_id": "B"}, 1),
            ({"agent_id": "a"}, 2),
            ({"agent_id": "b"}, 1),
        ]
        assert [(*each.group.values(), each.values["sum"]) for each in by_both] == [
            ("ms", None, 1.0),
            ("ms", "B", 3.0),
            ("ms", "a", 2.0),
            ("ms", "b", 0.0),
            ("s", "a", 4.0),
        ]

    async def test_buckets_come_before_groups(self, storage: Storage) -> None:
        await storage.store_many(
            [measured("1", 1, "b", age=0), measured("2", 1, "a", age=60), measured("3", 1, "a", age=0)]
        )

        found = await storage.aggregate_metrics("duration_ms", *ALWAYS, 60, ["agent_id"], ["count"])

        minute = MOMENT.replace(second=0, microsecond=0)
        assert [(each.bucket, each.group["agent_id"]) for each in found] == [
            (minute, "a"),
            (minute, "b"),
            (minute + timedelta(minutes=1), "a"),
        ]

    @pytest.mark.parametrize(
        ("values", "percentiles"),
        [
            ([5.0], {"p0": 5.0, "p50": 5.0, "p100": 5.0}),
            ([3.0, 1.0], {"p0": 1.0, "p25": 1.5, "p50": 2.0, "p100": 3.0}),
            ([float(n) for n in range(101)], {"p1": 1.0, "p50": 50.0, "p95": 95.0, "p99.9": 99.9, "p100": 100.0}),
            ([1.0, 1.0, 1.0, 9.0], {"p50": 1.0, "p75": 3.0, "p90": 6.6}),
            ([-1.7e308, 1.7e308], {"p0": -1.7e308, "p50": float("inf"), "p100": 1.7e308}),
        ],
    )
    async def test_percentiles_lie_between_two_values_in_proportion(
        self, storage: Storage, values: list[float], percentiles: dict[str, float]
    ) -> None:
        await storage.store_many([measured(str(n), value) for n, value in enumerate(values)])

        (summary,) = await storage.aggregate_metrics("duration_ms", *ALWAYS, functions=percentiles)

        assert summary.values == pytest.approx(percentiles, rel=1e-14)

    async def test_percentiles_are_those_of_their_group(self, storage: Storage) -> None:
        await storage.store_many([measured(f"{unit}-{n}", n, unit=unit) for unit in ("ms", "s") for n in (1, 2, 4)])
        await storage.store_metric(measured("more", 100, unit="s"))

        found = await storage.aggregate_metrics("duration_ms", *ALWAYS, group_by=["unit"], functions=["p50"])

        assert [each.values["p50"] for each in found] == [2.0, 3.0]

    async def test_both_bounds_belong_to_the_span_and_other_types_do_not(self, storage: Storage) -> None:
        tick = 0.000_001
        await storage.store_many([measured(str(age), 1, age=age) for age in (-tick, 0, 1, 1 + tick)])
        await storage.store_metric(a_metric("other", metric_type="tokens"))

        (summary,) = await storage.aggregate_metrics("duration_ms", MOMENT, after(1), functions=["count"])

        assert summary.values == {"count": 2}

    async def test_of_nothing_there_is_no_summary(self, storage: Storage) -> None:
        await storage.store_metric(a_metric("other", metric_type="tokens"))

        assert await storage.aggregate_metrics("duration_ms", *ALWAYS) == []
        assert await storage.aggregate_metrics("duration_ms", *ALWAYS, 60, ["unit"]) == []
        assert await storage.aggregate_metrics("tokens", ALWAYS[1], ALWAYS[0]) == []

    async def test_a_summary_joins_the_transaction(self, storage: Storage) -> None:
        await storage.store_metric(measured("1", 1))

        async with storage.transaction():
            await storage.store_metric(measured("2", 3))
            (summary,) = await storage.aggregate_metrics("duration_ms", *ALWAYS, functions=["p50"])

        assert summary.values == {"p50": 2.0}

    @pytest.mark.parametrize(
        ("argument", "value", "words"),
        [
            ("bucket", 0, "bucket is 0"),
            ("bucket", -1, "bucket is -1"),
            ("bucket", 1e-9, "bucket is 1e-09"),
            ("bucket", "hour", "bucket is 'hour'"),
            ("group_by", "unit", "group_by is 'unit'"),
            ("group_by", None, "group_by is None"),
            ("group_by", ["unit", "tags"], "group_by[1] is 'tags', expected one of agent_id, unit"),
            ("functions", "avg", "functions is 'avg'"),
            ("functions", None, "functions is None"),
            ("functions", [], "functions is empty"),
            ("functions", ["avg", "median"], "functions[1] is 'median'"),
            ("functions", ["p101"], "functions[0] is 'p101'"),
            ("functions", ["p"], "functions[0] is 'p'"),
            ("functions", ["p-1"], "functions[0] is 'p-1'"),
            ("functions", ["avg(value)"], "functions[0] is 'avg(value)'"),
        ],
    )
    async def test_an_argument_that_makes_no_sense_is_refused(
        self, storage: Storage, argument: str, value: Any, words: str
    ) -> None:
        arguments: dict[str, Any] = {argument: value}

        async with refused(storage, InvalidQueryError, words):
            await storage.aggregate_metrics("duration_ms", *ALWAYS, **arguments)

    @pytest.mark.parametrize("argument", ["start", "end"])
    async def test_a_time_that_is_none_is_refused_by_its_name(self, storage: Storage, argument: str) -> None:
        arguments: dict[str, Any] = {"start": 0, "end": 1, argument: NAIVE}

        async with refused(storage, SerializationError, argument):
            await storage.aggregate_metrics("duration_ms", **arguments)

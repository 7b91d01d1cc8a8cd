"""Facts about metrics and what is computed from them."""

import pytest

from swarm_persistence.errors import ConflictError
from swarm_persistence.models import MetricModel
from swarm_persistence.storage import Storage
from swarm_persistence.testing.records import MOMENT, a_metric, after, ids

ALWAYS = (after(-1_000_000), after(1_000_000))


def measured(id: str, value: float, agent_id: str | None = "a", unit: str = "ms", age: float = 0) -> MetricModel:
    """Return a metric of `duration_ms`."""
    return a_metric(id, value=value, agent_id=agent_id, unit=unit, timestamp=after(age))


@pytest.mark.asyncio
class TestMetrics:
    """What the verbs of metrics promise."""

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

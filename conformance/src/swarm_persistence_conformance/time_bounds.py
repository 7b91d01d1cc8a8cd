"""Facts about time bounds, and about local times that a zone repeats or skips."""

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from swarm_persistence import EventModel, Model, QueryBuilder, SerializationError, Storage
from swarm_persistence.schema.tables import Kind, table_of
from swarm_persistence_conformance.records import a_metric, a_task, an_event, complete_records, ids

SECOND = 1_767_270_615
HALVES = (SECOND - 0.5, SECOND, SECOND + 0.5, SECOND + 0.999999, SECOND + 1)
"""Times around and within one second."""


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


async def _aggregated(storage: Storage, end: Any) -> int:
    found = await storage.get_aggregated_metrics("duration_ms", SECOND, end)
    return int(found[0].tags["count"]) if found else 0


async def _summed(storage: Storage, end: Any) -> int:
    found = await storage.aggregate_metrics("duration_ms", SECOND, end, functions=["count"])
    return int(found[0].values["count"]) if found else 0


async def _queried(storage: Storage, end: Any) -> int:
    query = QueryBuilder(EventModel).where_ge("timestamp", SECOND).where_le("timestamp", end)
    return len(await storage.repository(EventModel).query(query))


async def _counted(storage: Storage, end: Any) -> int:
    query = QueryBuilder(EventModel).where_ge("timestamp", SECOND).where_le("timestamp", end)
    return await storage.repository(EventModel).count(query)


ENDS: dict[str, Callable[[Storage, Any], Coroutine[Any, Any, int]]] = {
    "get_aggregated_metrics": _aggregated,
    "aggregate_metrics": _summed,
    "where_le": _queried,
    "where_le, counted": _counted,
}
"""The verbs that take an end time; each counts the records between the start of `SECOND` and that end."""

BERLIN = ZoneInfo("Europe/Berlin")
ODD_TIMES = {
    "the first 02:30 of two": datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN),
    "the second 02:30 of two": datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
    "a 02:30 that is skipped": datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN),
    "a 02:30 that is skipped, by the later clock": datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN, fold=1),
}
_TIMES = [
    (record, column.name)
    for record in complete_records()
    for column in table_of(type(record)).columns
    if column.kind is Kind.TIME and column.name != "expires_at"  # what has expired is not there
]


class NanosecondDatetime(datetime):
    """A datetime with nanoseconds, as other libraries have."""

    def astimezone(self, tz: Any = None) -> Any:
        """Return a time that equals no datetime in microseconds."""
        return datetime.max.replace(tzinfo=UTC)


@pytest.mark.asyncio
class TestTimeBounds:
    """Bounds are inclusive, and an integer end covers its whole second."""

    @pytest.mark.parametrize("verb", ENDS)
    async def test_an_int_as_the_end_means_its_whole_second(self, storage: Storage, verb: str) -> None:
        await _store_halves(storage)

        assert await ENDS[verb](storage, SECOND) == 3

    @pytest.mark.parametrize("end", [float(SECOND), _at(SECOND)])
    @pytest.mark.parametrize("verb", ENDS)
    async def test_a_float_or_a_datetime_as_the_end_is_that_very_moment(
        self, storage: Storage, verb: str, end: Any
    ) -> None:
        await _store_halves(storage)

        assert await ENDS[verb](storage, end) == 1

    @pytest.mark.parametrize("start", [SECOND, float(SECOND), _at(SECOND)])
    async def test_a_start_is_the_beginning_of_its_second(self, storage: Storage, start: Any) -> None:
        await _store_halves(storage)

        assert ids(await storage.get_events_since(start)) == ["1", "2", "3", "4"]

    async def test_an_int_is_the_beginning_of_its_second_where_it_is_no_end(self, storage: Storage) -> None:
        await _store_halves(storage)
        query, events = QueryBuilder(EventModel), storage.repository(EventModel)

        assert ids(await events.query(query.where_lt("timestamp", SECOND))) == ["0"]
        assert ids(await events.query(query.where_gt("timestamp", SECOND))) == ["2", "3", "4"]
        assert ids(await events.query(query.where_eq("timestamp", SECOND))) == ["1"]

    async def test_the_last_second_of_all_is_an_end(self, storage: Storage) -> None:
        await storage.store_event(an_event(timestamp=datetime.max.replace(tzinfo=UTC)))
        last = QueryBuilder(EventModel).where_le("timestamp", 253_402_300_799)

        assert await storage.repository(EventModel).count(last) == 1

    @pytest.mark.parametrize("moment", ODD_TIMES)
    async def test_a_time_of_a_repeated_or_skipped_hour_is_a_bound(self, storage: Storage, moment: str) -> None:
        instant = ODD_TIMES[moment].astimezone(UTC)
        await storage.store_event(an_event(timestamp=instant))

        assert len(await storage.get_events_since(ODD_TIMES[moment])) == 1
        assert (await storage.prune(ODD_TIMES[moment])).events == 0


@pytest.mark.asyncio
class TestOddTimes:
    """Ambiguous and nonexistent local times."""

    @pytest.mark.parametrize("moment", ODD_TIMES)
    @pytest.mark.parametrize(("record", "field"), _TIMES)
    async def test_a_time_of_a_repeated_or_skipped_hour_comes_back_equal(
        self, storage: Storage, record: Model, field: str, moment: str
    ) -> None:
        given = msgspec.structs.replace(record, **{field: ODD_TIMES[moment]})
        instant = ODD_TIMES[moment].astimezone(UTC)

        await storage.store_many([given])

        (stored,) = await storage.repository(type(record)).find_all()
        assert stored == given
        assert getattr(given, field) == instant

    async def test_a_rewritten_record_tells_the_time_in_utc_too(self, storage: Storage) -> None:
        task = await storage.store_task(a_task())
        task.run_at = ODD_TIMES["the first 02:30 of two"]

        await storage.update_task(task)

        assert await storage.get_task(task.id) == task

    async def test_a_time_that_is_finer_than_microseconds_is_refused(self, storage: Storage) -> None:
        with pytest.raises(SerializationError, match=r"event\.timestamp is .* expected a time in whole microseconds"):
            await storage.store_event(an_event(timestamp=NanosecondDatetime(2026, 1, 1, tzinfo=UTC)))


async def _store_halves(storage: Storage) -> None:
    for place, seconds in enumerate(HALVES):
        moment = _at(seconds)
        await storage.store_many([an_event(str(place), timestamp=moment), a_metric(str(place), timestamp=moment)])

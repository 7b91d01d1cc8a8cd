"""Facts about `store_many`: any mix of models, one atomic write."""

from collections.abc import Iterator

import pytest

from swarm_persistence import ConflictError, Model, Storage
from swarm_persistence_conformance.records import (
    a_message,
    a_metric,
    a_task,
    an_agent,
    an_event,
    complete_records,
    everything_in,
    ids,
)


@pytest.mark.asyncio
class TestBatches:
    """The contract of `store_many`."""

    async def test_a_mix_of_models_is_stored(self, storage: Storage) -> None:
        records = complete_records()

        await storage.store_many(records)

        assert [await storage.repository(type(record)).find_by_id(record.id) for record in records] == records

    async def test_it_returns_how_many_were_stored(self, storage: Storage) -> None:
        assert await storage.store_many([an_agent(), a_task(), a_task("task-2")]) == 3

    async def test_it_takes_any_iterable(self, storage: Storage) -> None:
        def tasks() -> Iterator[Model]:
            for number in range(3):
                yield a_task(f"task-{number}")

        assert await storage.store_many(tasks()) == 3
        assert ids(await storage.get_pending_tasks()) == ["task-0", "task-1", "task-2"]

    async def test_an_iterable_that_fails_midway_stores_nothing(self, storage: Storage) -> None:
        def tasks() -> Iterator[Model]:
            yield a_task()
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await storage.store_many(tasks())

        assert await storage.get_pending_tasks() == []

    async def test_nothing_to_store_stores_nothing(self, storage: Storage) -> None:
        assert await storage.store_many([]) == 0

    async def test_a_known_id_refuses_the_whole_batch(self, storage: Storage) -> None:
        await storage.store_task(a_task("known"))
        before = await everything_in(storage)

        with pytest.raises(ConflictError, match="task 'known'"):
            await storage.store_many([an_agent(), an_event(), a_task("new"), a_task("known"), a_metric()])

        assert await everything_in(storage) == before

    async def test_an_id_that_stands_twice_in_the_batch_refuses_it_all(self, storage: Storage) -> None:
        with pytest.raises(ConflictError, match="message 'message-1'"):
            await storage.store_many([a_message(), an_agent(), a_message()])

        assert not any((await everything_in(storage)).values())

    async def test_the_records_of_a_refused_batch_keep_version_and_sequence(self, storage: Storage) -> None:
        await storage.store_task(a_task("known"))
        agent, event, message = an_agent(), an_event(), a_message()

        with pytest.raises(ConflictError):
            await storage.store_many([agent, event, message, a_task("known")])

        assert (agent.version, event.sequence, message.sequence) == (0, None, None)

    async def test_the_records_of_a_batch_learn_version_and_sequence(self, storage: Storage) -> None:
        agent, task, event, message = an_agent(), a_task(), an_event(), a_message()

        await storage.store_many([agent, task, event, message])

        assert (agent.version, task.version) == (1, 1)
        assert None not in (event.sequence, message.sequence)

    async def test_records_arrive_in_the_order_of_the_batch(self, storage: Storage) -> None:
        await storage.store_many([a_task("m"), a_task("z"), an_agent(), a_task("a")])

        assert ids(await storage.get_pending_tasks()) == ["m", "z", "a"]

    async def test_a_batch_may_be_large(self, storage: Storage) -> None:
        count = await storage.store_many([a_metric(f"metric-{number}", agent_id="a") for number in range(3_000)])

        assert count == len(await storage.get_metrics_by_agent("a", "duration_ms")) == 3_000

"""Facts about the metrics for Prometheus, as its own parser reads them."""

from datetime import timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from swarm_persistence import InvalidQueryError, MemoryStorage, SqliteStorage, Storage, TaskModel, TaskStatus
from swarm_persistence.telemetry import prometheus_text
from swarm_persistence.testing import ManualClock, now
from swarm_persistence_conformance.records import a_task, an_agent

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def scraped(storage: Storage) -> Samples:
    """Return the samples by name, without the common prefix, and labels."""
    families = text_string_to_metric_families(await prometheus_text(storage))
    return {
        (sample.name.removeprefix("swarm_persistence_"), tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


async def done(storage: Storage, id: str) -> None:
    """Store, claim and complete a task."""
    await storage.store_task(a_task(id, task_type="sum"))
    claimed = await storage.claim_next_task("agent-1", task_types=["sum"])
    assert claimed is not None
    await storage.complete_task(claimed)


async def test_what_is_stored_is_counted_by_type_and_status(storage: Storage) -> None:
    await storage.store_tasks(
        [a_task("a", task_type='say "hi"\n'), a_task("b", task_type="sum"), a_task("c", task_type="sum")]
    )
    await storage.claim_next_task("agent-1", task_types=["sum"])
    await storage.store_agent(an_agent("agent-1"))

    samples = await scraped(storage)

    assert samples["tasks", (("status", "pending"), ("type", 'say "hi"\n'))] == 1
    assert samples["tasks", (("status", "assigned"), ("type", "sum"))] == 1
    assert samples["ready_tasks", (("type", "sum"),)] == 1
    assert sum(value for (name, _), value in samples.items() if name == "agents") == 1
    assert samples["expired_leases", ()] == 0
    assert samples["storage_bytes", ()] == await storage.get_storage_size()
    assert samples["pool_connections_max", ()] == storage.pool_status().max


async def test_what_ends_after_the_first_scrape_is_counted_once(storage: Storage) -> None:
    await done(storage, "before")
    assert not [name for name, _ in await scraped(storage) if name == "finished_tasks_total"]
    for id in ("a", "b"):
        await done(storage, id)
    await storage.store_task(a_task("c", task_type="sum"))
    claimed = await storage.claim_next_task("agent-1")
    assert claimed is not None
    await storage.fail_task(claimed, "no", max_retries=0)

    first, second = await scraped(storage), await scraped(storage)

    of_type = (("type", "sum"),)
    for samples in (first, second):
        assert samples["finished_tasks_total", (("status", "completed"), ("type", "sum"))] == 2
        assert samples["finished_tasks_total", (("status", "failed"), ("type", "sum"))] == 1
        assert samples["task_claims_total", of_type] == 3
        assert samples["task_retries_total", of_type] == 0
        assert samples["task_run_seconds_count", of_type] == 3
        assert samples["task_run_seconds_bucket", (("le", "+Inf"), ("type", "sum"))] == 3


async def test_durations_and_ages_are_in_seconds(clock: ManualClock) -> None:
    async with MemoryStorage() as storage:
        await scraped(storage)
        await storage.store_task(TaskModel.new("sum", None))
        clock.advance(3)
        task = await storage.claim_next_task("agent-1", lease=60)
        assert task is not None
        clock.advance(20)
        await storage.complete_task(task)
        await storage.store_tasks([TaskModel.new("sum", None), TaskModel.new("sum", None)])
        await storage.claim_next_task("agent-2", lease=60)
        clock.advance(61)

        samples = await scraped(storage)

    of_type = (("type", "sum"),)
    assert (samples["task_wait_seconds_sum", of_type], samples["task_run_seconds_sum", of_type]) == (3, 20)
    buckets = [samples["task_run_seconds_bucket", (("le", bound), ("type", "sum"))] for bound in ("10.0", "30.0")]
    assert buckets == [0, 1]
    assert samples["oldest_ready_task_age_seconds", of_type] == 61
    assert samples["expired_leases", ()] == 1


async def test_claims_that_were_lost_are_counted_once_their_task_has_ended(clock: ManualClock) -> None:
    async with MemoryStorage() as storage:
        await scraped(storage)
        await storage.store_task(TaskModel.new("sum", None))
        await storage.claim_next_task("expires", lease=60)
        clock.advance(61)
        await storage.requeue_expired_tasks()
        clock.advance(600)
        released = await storage.claim_next_task("releases")
        assert released is not None
        await storage.release_task(released)
        await storage.claim_next_task("exits")
        await storage.release_tasks_of("exits")
        done = await storage.claim_next_task("completes")
        assert done is not None
        assert ("task_lost_leases_total", (("type", "sum"),)) not in await scraped(storage)
        await storage.complete_task(done)

        samples = await scraped(storage)

    assert samples["task_claims_total", (("type", "sum"),)] == 4
    assert samples["task_lost_leases_total", (("type", "sum"),)] == 2


async def test_more_tasks_than_one_read_takes_are_all_counted() -> None:
    async with MemoryStorage() as storage:
        await scraped(storage)
        ended = {"status": TaskStatus.COMPLETED, "completed_at": now() + timedelta(seconds=1)}
        await storage.store_tasks([a_task(f"{n}", task_type="sum", **ended) for n in range(2_500)])

        samples = await scraped(storage)

    assert samples["finished_tasks_total", (("status", "completed"), ("type", "sum"))] == 2_500


async def test_types_beyond_the_first_hundred_count_together(clock: ManualClock) -> None:
    async with MemoryStorage() as storage:
        tasks = [a_task(f"{n}", task_type=f"type-{n:05}", created_at=now()) for n in range(1_000)]
        await storage.store_tasks([*tasks, *(a_task(f"busy-{n}", task_type="z-busy") for n in range(2))])
        before = await scraped(storage)
        clock.advance(7)
        while task := await storage.claim_next_task("agent-1"):
            await storage.complete_task(task)
        await storage.store_task(a_task("late", task_type="late", created_at=now()))
        clock.advance(3)
        text = await prometheus_text(storage)
        after = await scraped(storage)

    assert len([labels for name, labels in before if name == "ready_tasks"]) == 101
    assert before["ready_tasks", (("type", "z-busy"),)] == 2
    assert before["ready_tasks", (("type", "other"),)] == 901
    assert before["tasks", (("status", "pending"), ("type", "other"))] == 901
    assert after["tasks", (("status", "completed"), ("type", "other"))] == 901
    assert after["finished_tasks_total", (("status", "completed"), ("type", "other"))] == 901
    assert after["finished_tasks_total", (("status", "completed"), ("type", "z-busy"))] == 2
    assert after["task_wait_seconds_count", (("type", "other"),)] == 901
    assert after["oldest_ready_task_age_seconds", (("type", "other"),)] == 3
    assert len(text) < 500_000


async def test_the_number_of_types_may_be_chosen(storage: Storage) -> None:
    await storage.store_tasks([a_task("a", task_type="a"), a_task("b", task_type="b"), a_task("c", task_type="b")])

    text = await prometheus_text(storage, most_types=1)

    assert 'swarm_persistence_tasks{status="pending",type="b"} 2.0' in text
    assert 'swarm_persistence_tasks{status="pending",type="other"} 1.0' in text
    with pytest.raises(InvalidQueryError, match="most_types is -1, expected a whole number"):
        await prometheus_text(storage, most_types=-1)


async def test_the_log_of_a_file_is_measured(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("log") / "swarm.db"
    async with await SqliteStorage.open(path) as storage:
        await storage.store_task(a_task("a"))

        samples = await scraped(storage)

        assert samples["log_bytes", ()] == path.with_name("swarm.db-wal").stat().st_size

"""Facts about `/metrics`, which Prometheus scrapes."""

from prometheus_client.parser import text_string_to_metric_families

from swarm_persistence import MemoryStorage
from swarm_persistence_conformance.records import a_task
from web.servers import TOKEN, client_of


async def test_prometheus_reads_the_metrics() -> None:
    async with MemoryStorage() as storage, client_of(storage) as client:
        await storage.store_task(a_task("task-1"))

        answer = (await client.get("/metrics")).raise_for_status()

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    names = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"swarm_persistence_tasks", "swarm_persistence_storage_bytes"} <= names


async def test_a_stranger_is_refused_and_a_scraper_with_the_token_is_not() -> None:
    async with client_of(token=TOKEN) as client:
        refused = await client.get("/metrics")
        allowed = await client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})

    assert (refused.status_code, allowed.status_code) == (401, 200)

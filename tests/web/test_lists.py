"""Lists over HTTP: filters, orders and pages, the same for every noun."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from swarm_persistence import (
    AgentModel,
    DocumentModel,
    EventModel,
    MemoryStorage,
    MessageModel,
    MetricModel,
    SqliteStorage,
    Storage,
    TaskModel,
)
from web.servers import client_of

START = datetime(2026, 1, 1, tzinfo=UTC)


async def filled(storage: Storage) -> Storage:
    """Return the storage with seven records of each noun, some of them alike."""
    records = []
    for number in range(7):
        moment = START + timedelta(hours=number // 2)
        task = TaskModel.new("even" if number % 2 == 0 else "odd", number, ("low", "high")[number % 2])
        task.id, task.created_at, task.run_at = f"task/{number}", moment, moment if number > 2 else None
        event = EventModel.new("thing", number, agent_id=f"a{number % 3}")
        metric = MetricModel.new("load", number / 2, "%")
        message = MessageModel.new("a", "b", "text", number)
        records += [AgentModel.new(f"agent {number}", "worker"), task, event, message, metric]
    await storage.store_many(records)
    await storage.put_documents([DocumentModel.new(("notes",), f"k{number}", number) for number in range(7)])
    return storage


@pytest.fixture(params=["memory", "sqlite"])
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    storage = MemoryStorage() if request.param == "memory" else await SqliteStorage.open(tmp_path / "swarm.db")
    async with client_of(await filled(storage)) as client:
        yield client


async def pages(client: httpx.AsyncClient, noun: str, **parameters: str) -> list[list[str]]:
    found, cursor = [], None
    while True:
        query = {**parameters, "limit": "3"} | ({"cursor": cursor} if cursor else {})
        page = (await client.get(f"/api/v1/{noun}", params=query)).raise_for_status().json()
        found.append([each["id"] for each in page["items"]])
        if (cursor := page["next_cursor"]) is None:
            return found


@pytest.mark.parametrize("noun", ["agents", "tasks", "events", "messages", "metrics", "documents"])
async def test_the_pages_of_a_list_show_each_record_once(client: httpx.AsyncClient, noun: str) -> None:
    found = await pages(client, noun)

    assert [len(page) for page in found] == [3, 3, 1]
    assert len({id for page in found for id in page}) == 7


@pytest.mark.parametrize("sort", ["priority", "-priority", "created_at", "-created_at", "run_at", "-run_at"])
async def test_pages_end_and_begin_anywhere_among_equal_values(client: httpx.AsyncClient, sort: str) -> None:
    whole = (await client.get("/api/v1/tasks", params={"sort": sort})).json()["items"]

    found = [id for page in await pages(client, "tasks", sort=sort) for id in page]

    assert found == [each["id"] for each in whole]
    assert len({*found}) == 7
    field = sort.removeprefix("-")
    values = [each[field] for each in whole]
    ranks = {"low": 0, "high": 1}
    keys = [(value is not None, ranks.get(value, value) if value else 0) for value in values]
    assert keys == sorted(keys, reverse=sort.startswith("-"))


async def test_what_is_stored_between_two_pages_shifts_none(client: httpx.AsyncClient) -> None:
    first = (await client.get("/api/v1/tasks", params={"limit": "3", "sort": "-id"})).json()
    await client.post("/api/v1/tasks", json={"task_type": "new", "id": "task/9"})

    second = (await client.get("/api/v1/tasks", params={"limit": "3", "cursor": first["next_cursor"]})).json()

    assert [each["id"] for each in second["items"]] == ["task/3", "task/2", "task/1"]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("task_type=odd", [1, 3, 5]),
        ("task_type=odd&task_type=even&priority=high", [1, 3, 5]),
        ("task_type.ne=odd", [0, 2, 4, 6]),
        ("created_at.ge=2026-01-01T02:00:00Z", [4, 5, 6]),
        (f"created_at.lt={int((START + timedelta(hours=1)).timestamp())}", [0, 1]),
        ("created_at.gt=2026-01-01T01:00:00Z&created_at.le=2026-01-01T02:00:00Z", [4, 5]),
        ("id.like=TASK/_", [0, 1, 2, 3, 4, 5, 6]),
        ("run_at.null=true", [0, 1, 2]),
        ("run_at.null=false&priority=low", [4, 6]),
        ("status=pending&max_retries=3&fails_with_dependencies=true&id=task%2F2", [2]),
        ("status=completed", []),
    ],
)
async def test_filters_are_those_of_the_query_builder(
    client: httpx.AsyncClient, query: str, numbers: list[int]
) -> None:
    found = (await client.get(f"/api/v1/tasks?sort=id&{query}")).raise_for_status().json()["items"]

    assert [each["payload"] for each in found] == numbers


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("colour=red", "has no field 'colour'"),
        ("status=done", "it is one of pending"),
        ("created_at.after=1", "expected one of eq, ne"),
        ("created_at=yesterday", "created_at is 'yesterday'"),
        ("max_retries=many", "max_retries is 'many'"),
        ("run_at.null=perhaps", "expected true or false"),
        ("created_at.gt=1&created_at.gt=2", "given 2 times"),
        ("payload=1", "holds JSON"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("sort=colour", "colour"),
        ("cursor=x", "next_cursor of a page"),
        ("cursor=%00", "next_cursor of a page"),
        ("id.like=%00", "NUL"),
    ],
)
async def test_a_query_that_makes_no_sense_is_refused_with_a_reason(
    client: httpx.AsyncClient, query: str, reason: str
) -> None:
    answer = await client.get(f"/api/v1/tasks?{query}")

    assert answer.status_code == 422
    assert reason in answer.json()["detail"]


async def test_a_cursor_of_another_order_is_refused(client: httpx.AsyncClient) -> None:
    page = (await client.get("/api/v1/tasks?limit=1&sort=priority")).json()

    answer = await client.get("/api/v1/tasks", params={"cursor": page["next_cursor"], "sort": "-priority"})

    assert (answer.status_code, "sorted by 'priority'" in answer.json()["detail"]) == (422, True)


async def test_records_are_counted_by_fields(client: httpx.AsyncClient) -> None:
    counted = (await client.get("/api/v1/tasks/counts?by=task_type&by=priority&status=pending")).json()

    assert counted == [
        {"values": {"task_type": "even", "priority": "low"}, "count": 4},
        {"values": {"task_type": "odd", "priority": "high"}, "count": 3},
    ]

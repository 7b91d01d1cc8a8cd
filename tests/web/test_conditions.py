"""Conditional requests (RFC 9110): entity tags, `If-Match` and `If-None-Match`."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from swarm_persistence import AgentModel, DocumentModel, MemoryStorage, QueryBuilder, ScheduleModel, Storage, TaskModel

PATHS = (
    "/api/v1/tasks/one",
    "/api/v1/agents/one",
    "/api/v1/schedules/one",
    "/api/v1/documents/item?collection=c&key=one",
    "/static/page.css",
)


@pytest.fixture
async def storage() -> AsyncIterator[Storage]:
    """Give a storage with a record of each noun that has versions."""
    async with MemoryStorage() as opened:
        await opened.store_task(TaskModel(id="one", task_type="t"))
        await opened.store_agent(AgentModel(id="one", name="one", agent_type="t"))
        await opened.store_schedule(ScheduleModel(name="one", task_type="t", every=60))
        await opened.put_documents([DocumentModel.new(("c",), "one", 1)])
        yield opened


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_a_client_has_already_is_not_sent_again(client: httpx.AsyncClient, path: str, method: str) -> None:
    tag = (await client.get(path)).headers["etag"]
    weak = f"W/{tag.removeprefix('W/')}"

    for known in (tag, weak, "*", f'"other", {tag}', f' , "a,b" ,W/"c" , {weak},'):
        answer = await client.request(method, path, headers={"if-none-match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag), known
        assert "content-type" not in answer.headers
    for other in ('"other"', f"{tag}x", f"{tag} {tag}", "", tag.strip('"')):
        answer = await client.request(method, path, headers={"if-none-match": other})
        assert answer.status_code == 200, other


async def test_several_lines_of_a_header_are_one_list(client: httpx.AsyncClient) -> None:
    tag = (await client.get(PATHS[0])).headers["etag"]
    lines = [("if-none-match", '"other"'), ("if-none-match", tag)]
    assert (await client.get(PATHS[0], headers=lines)).status_code == 304


async def test_a_record_that_has_changed_is_sent(client: httpx.AsyncClient) -> None:
    tag = (await client.get(PATHS[0])).headers["etag"]
    changed = await client.patch(PATHS[0], json={"priority": "high"})

    answer = await client.get(PATHS[0], headers={"if-none-match": tag})

    assert (answer.status_code, answer.headers["etag"]) == (200, changed.headers["etag"])
    assert (await client.get(PATHS[0], headers={"if-none-match": answer.headers["etag"]})).status_code == 304


@pytest.mark.parametrize("path", [PATHS[0], PATHS[1], PATHS[3]])
async def test_a_record_that_was_deleted_and_stored_again_has_another_tag(
    client: httpx.AsyncClient, storage: Storage, path: str
) -> None:
    before = await client.get(path)
    await storage.delete_where(QueryBuilder(TaskModel).where_eq("id", "one"))
    await storage.delete_agent("one")
    await storage.take_document(("c",), "one")
    await storage.store_task(TaskModel(id="one", task_type="u"))
    await storage.store_agent(AgentModel(id="one", name="two", agent_type="t"))
    await storage.put_documents([DocumentModel.new(("c",), "one", 2)])

    after = await client.get(path, headers={"if-none-match": before.headers["etag"]})

    assert (after.status_code, after.json()["version"]) == (200, before.json()["version"])


async def test_a_put_document_has_the_tag_that_is_read(client: httpx.AsyncClient) -> None:
    for headers in ({}, {"if-match": "*"}):
        put = await client.put(PATHS[3], json={"value": 7}, headers=headers)
        assert (await client.get(PATHS[3])).headers["etag"] == put.headers["etag"]


@pytest.mark.parametrize("path", [PATHS[0], PATHS[1]])
async def test_a_change_needs_the_strong_tag_of_the_present_version(client: httpx.AsyncClient, path: str) -> None:
    tag = (await client.get(path)).headers["etag"]
    changes = {"metadata": {"a": 1}} if "agents" in path else {"priority": "high"}

    for refused in (f"W/{tag}", 'W/"1"', '"2"', 'W/"1", "2"'):
        answer = await client.patch(path, json=changes, headers={"if-match": refused})
        assert answer.status_code == 412, refused
    for malformed in ("1", '"1', '"1" "2"', ""):
        answer = await client.patch(path, json=changes, headers={"if-match": malformed})
        assert (answer.status_code, "If-Match is" in answer.json()["detail"]) == (422, True), malformed
    assert (await client.get(path)).headers["etag"] == tag
    for number, fitting in enumerate(('"1"', '"9", "2"', "*"), start=2):
        answer = await client.patch(path, json=changes, headers={"if-match": fitting})
        assert (answer.status_code, answer.json()["version"]) == (200, number)
    assert (await client.patch(path, json=changes, headers={"if-match": answer.headers["etag"]})).status_code == 200


@pytest.mark.parametrize("path", PATHS[1:4])
async def test_a_weak_tag_deletes_nothing(client: httpx.AsyncClient, path: str) -> None:
    tag = (await client.get(path)).headers["etag"]
    assert (await client.delete(path, headers={"if-match": f"W/{tag}"})).status_code == 412
    assert (await client.delete(path, headers={"if-match": tag})).status_code == 204
    assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize("condition", ["*", '"1"'])
async def test_no_condition_holds_for_a_record_that_is_missing(client: httpx.AsyncClient, condition: str) -> None:
    missing = [path.replace("one", "none") for path in PATHS[1:4]]
    headers = {"if-match": condition}

    answers = [await client.delete(path, headers=headers) for path in missing]
    answers.append(await client.put(missing[-1], json={"value": 1}, headers=headers))

    assert [answer.status_code for answer in answers] == [412] * 4
    assert (await client.get(missing[-1])).status_code == 404
    # What would be refused without the condition is refused for that reason (RFC 9110, section 13.2.1).
    for path in (PATHS[0], PATHS[1]):
        answer = await client.patch(path.replace("one", "none"), json={}, headers=headers)
        assert answer.status_code == 404


@pytest.mark.parametrize("path", PATHS[1:4])
async def test_what_changes_between_the_look_and_the_deletion_stays(
    client: httpx.AsyncClient, storage: Storage, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete_where = storage.delete_where

    async def delete_after_a_change(query: Any) -> int:
        await storage.heartbeat("one")
        await storage.pause_schedule("one")
        await storage.put_documents([DocumentModel.new(("c",), "one", 2)])
        return await delete_where(query)

    monkeypatch.setattr(storage, "delete_where", delete_after_a_change)
    answer = await client.delete(path, headers={"if-match": '"1"'})

    assert (answer.status_code, (await client.get(path)).json()["version"]) == (412, 2)

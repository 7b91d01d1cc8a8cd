"""Facts about the transcripts of Claude's sessions in a storage, on each engine."""

import asyncio
from itertools import count
from typing import Any, cast
from uuid import uuid4

import pytest
from claude_agent_sdk import (
    SessionKey,
    SessionStoreEntry,
    delete_session_via_store,
    fold_session_summary,
    get_session_messages_from_store,
    list_sessions_from_store,
    project_key_for_directory,
)
from claude_agent_sdk.testing import run_session_store_conformance

from swarm_persistence import Storage, init_storage
from swarm_persistence.contrib.claude import SwarmSessionStore
from swarm_persistence.testing import ManualClock

MAIN: SessionKey = {"project_key": "project", "session_id": "session"}
SUB: SessionKey = {**MAIN, "subpath": "nested/agent-1"}


def entry(**fields: Any) -> SessionStoreEntry:
    """Return an entry of a transcript."""
    return cast(SessionStoreEntry, {"type": "user", **fields})


async def test_the_sdks_conformance_suite_passes_whole(storage: Storage) -> None:
    contracts = count()

    async def new_store() -> SwarmSessionStore:
        next(contracts)
        await storage.delete_documents((), below=True)
        return SwarmSessionStore(storage)

    await run_session_store_conformance(new_store)

    assert next(contracts) == 1 + 14, "a contract was left out"


async def test_an_entry_that_is_sent_again_is_kept_once(storage: Storage) -> None:
    store = SwarmSessionStore(storage)
    first, second = entry(uuid="b", customTitle="first"), entry(uuid="a", customTitle="second")
    await store.append(MAIN, [first])
    await store.append(MAIN, [second])

    await store.append(MAIN, [first])

    assert await store.load(MAIN) == [first, second]
    [summary] = await store.list_session_summaries("project")
    assert summary["data"]["custom_title"] == "second"


async def test_two_stores_that_append_at_once_lose_nothing(storage: Storage) -> None:
    stores = [SwarmSessionStore(storage) for _ in range(2)]
    entries = [entry(uuid=str(uuid4()), timestamp="2026-01-01T00:00:00Z", customTitle=str(n)) for n in range(20)]

    await asyncio.gather(*(stores[n % 2].append(MAIN, [each]) for n, each in enumerate(entries)))

    stored = await stores[0].load(MAIN)
    assert stored is not None
    assert sorted(each["uuid"] for each in stored) == sorted(each["uuid"] for each in entries)
    [summary] = await stores[0].list_session_summaries("project")
    assert summary["data"] == fold_session_summary(None, MAIN, stored)["data"]


async def test_texts_that_are_no_unicode_and_numbers_that_are_no_json_come_back(storage: Storage) -> None:
    store = SwarmSessionStore(storage)
    cut = entry(uuid="1", message={"content": "an emoji, cut in half: \ud83d", "NUL": "\0", "rate": float("inf")})

    await store.append(MAIN, [cut])

    assert await store.load(MAIN) == [cut]


async def test_an_append_belongs_to_the_transaction_around_it(storage: Storage) -> None:
    store = SwarmSessionStore(storage)

    transaction = await storage.begin_transaction()
    await store.append(MAIN, [entry(uuid="1")])
    await store.append(SUB, [entry(uuid="2")])
    await transaction.rollback()

    assert (await store.load(MAIN), await store.load(SUB), await store.list_sessions("project")) == (None, None, [])


async def test_prune_deletes_sessions_that_rest_with_their_nested_agents(clock: ManualClock) -> None:
    async with await init_storage(":memory:") as storage:
        store = SwarmSessionStore(storage)
        other: SessionKey = {"project_key": "other", "session_id": "lively"}
        for key in (MAIN, SUB, other):
            await store.append(key, [entry(uuid="1")])
        clock.advance(3600)
        await store.append(other, [entry(uuid="2")])

        assert await store.prune(1800) == 1

        assert (await store.load(MAIN), await store.load(SUB)) == (None, None)
        assert len(await store.load(other) or []) == 2
        assert [each["session_id"] for each in await store.list_sessions("other")] == ["lively"]


async def test_prune_leaves_a_session_that_is_written_meanwhile(storage: Storage, clock: ManualClock) -> None:
    store = SwarmSessionStore(storage)
    keys: list[SessionKey] = [{**MAIN, "session_id": name} for name in ("continued", "nested", "resting")]
    for key in keys:
        await store.append(key, [entry(uuid="1")])
    clock.advance(3600)
    await store.append({**keys[1], "subpath": "agent"}, [entry(uuid="2")])
    read = storage.list_documents

    async def read_and_continue(*args: Any, **kwargs: Any) -> Any:
        found = await read(*args, **kwargs)
        if args == (("claude", "project"),):
            await SwarmSessionStore(storage).append(keys[0], [entry(uuid="2")])
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "list_documents", read_and_continue)
        assert await store.prune(1800) == 1

    assert [len(await store.load(key) or []) for key in keys] == [2, 1, 0]


async def test_prune_deletes_what_nested_agents_have_left_of_a_deleted_session(
    storage: Storage, clock: ManualClock
) -> None:
    store = SwarmSessionStore(storage)
    await store.append(MAIN, [entry(uuid="1")])
    await store.delete(MAIN)
    await store.append(SUB, [entry(uuid="1")])
    clock.advance(1000)
    begun: SessionKey = {**MAIN, "session_id": "begun by its nested agent"}
    await store.append({**begun, "subpath": "agent"}, [entry(uuid="1")])

    assert await store.prune(1800) == 0
    clock.advance(1000)
    assert await store.prune(1800) == 1
    assert (await store.load(SUB), await store.list_subkeys(cast(Any, begun))) == (None, ["agent"])

    clock.advance(1000)
    await store.append(begun, [entry(uuid="2")])
    assert await store.prune(1800) == 0
    clock.advance(2000)
    assert await store.prune(1800) == 1
    assert await storage.list_collections(("claude",)) == []


async def test_no_subpath_may_be_said_as_none(storage: Storage) -> None:
    store = SwarmSessionStore(storage)
    key: SessionKey = {**MAIN, "subpath": cast(Any, None)}

    await store.append(key, [entry(uuid="1")])

    assert await store.load(MAIN) == await store.load(key) == [entry(uuid="1")]
    assert len(await store.list_sessions("project")) == 1
    await store.delete(key)
    assert await store.load(MAIN) is None


async def test_an_empty_subpath_is_refused(storage: Storage) -> None:
    with pytest.raises(ValueError, match=r"key\['subpath'\] is ''"):
        await SwarmSessionStore(storage).append({**MAIN, "subpath": ""}, [entry(uuid="1")])


async def test_the_sdks_own_functions_list_read_and_delete_sessions(storage: Storage) -> None:
    store = SwarmSessionStore(storage)
    session_id = str(uuid4())
    key: SessionKey = {"project_key": project_key_for_directory("."), "session_id": session_id}
    said = entry(
        uuid=str(uuid4()),
        parentUuid=None,
        sessionId=session_id,
        timestamp="2026-01-01T00:00:00Z",
        message={"role": "user", "content": "why?"},
    )
    await store.append(key, [said])

    [found] = await list_sessions_from_store(store, ".")
    assert (found.session_id, found.first_prompt) == (session_id, "why?")
    messages = await get_session_messages_from_store(store, session_id, ".")
    assert [each.message for each in messages] == [{"role": "user", "content": "why?"}]

    await delete_session_via_store(store, session_id, ".")
    assert await list_sessions_from_store(store, ".") == []

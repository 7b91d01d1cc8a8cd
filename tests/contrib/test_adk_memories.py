"""What ADK says of its memories, as facts: on our service on each engine, and on the one that ADK ships.

`FAILS` names the facts that do not hold on ADK's own service.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from google.adk.memory import BaseMemoryService, InMemoryMemoryService
from google.adk.memory.memory_entry import MemoryEntry
from google.adk.sessions import Session
from google.genai.types import Content, Part

from contrib.adk_values import A, said
from contrib.storages import ENGINES, expect_what_fails, opened
from swarm_persistence.contrib.adk import SwarmMemoryService

FAILS = {"test_a_memory_that_is_added_by_itself_is_found": {"adk-memory"}}


@pytest.fixture(autouse=True)
def _expect_what_fails(request: pytest.FixtureRequest) -> None:
    expect_what_fails(request, FAILS)


@pytest_asyncio.fixture(params=[*ENGINES, "adk-memory"])
async def memories(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BaseMemoryService]:
    """Give each service of memory."""
    if request.param == "adk-memory":
        yield InMemoryMemoryService()
        return
    async with await opened(request.param, request, tmp_path) as storage:
        yield SwarmMemoryService(storage)


async def recalled(memories: BaseMemoryService, query: str, user: str = "user") -> list[str]:
    """Return the texts that are found."""
    found = await memories.search_memory(app_name="app", user_id=user, query=query)
    return [part.text or "" for memory in found.memories for part in memory.content.parts or ()]


async def test_memories_that_share_most_words_come_first(memories: BaseMemoryService) -> None:
    events = [said("A lease ends a claim."), said("Leases"), said("the claim of a lease"), said("nothing")]
    await memories.add_session_to_memory(Session(id="s", events=events, **A))

    assert await recalled(memories, "Claim, LEASE of") == ["the claim of a lease", "A lease ends a claim."]
    assert await recalled(memories, "unknown") == []
    assert await recalled(memories, "claim", user="other") == []


async def test_languages_without_spaces_are_found(memories: BaseMemoryService) -> None:
    await memories.add_session_to_memory(Session(id="s", events=[said("私はPythonを使う")], **A))

    assert await recalled(memories, "python") == ["私はPythonを使う"]
    assert await recalled(memories, "使う") == ["私はPythonを使う"]
    assert await recalled(memories, "thon") == []


async def test_at_most_ten_memories_are_found(memories: BaseMemoryService) -> None:
    await memories.add_session_to_memory(Session(id="s", events=[said(f"word {n}") for n in range(12)], **A))

    assert await recalled(memories, "word") == [f"word {n}" for n in range(10)]


async def test_a_session_may_be_added_again(memories: BaseMemoryService) -> None:
    events = [said("word one")]
    await memories.add_session_to_memory(Session(id="s", events=events, **A))
    await memories.add_session_to_memory(Session(id="s", events=[*events, said("word two")], **A))
    await memories.add_session_to_memory(Session(id="t", events=[said("word three")], **A))

    assert await recalled(memories, "word") == ["word one", "word two", "word three"]


async def test_events_are_added_once(memories: BaseMemoryService) -> None:
    event = said("word one")
    await memories.add_events_to_memory(**A, events=[event], session_id="s")
    await memories.add_events_to_memory(**A, events=[event, said("word two")], session_id="s")
    await memories.add_events_to_memory(**A, events=[said("word three")])

    assert await recalled(memories, "word") == ["word one", "word two", "word three"]


async def test_a_memory_may_be_no_unicode_and_its_metadata_no_json(memories: BaseMemoryService) -> None:
    event = said("word, cut in half: \ud83d")
    await memories.add_session_to_memory(Session(id="s", events=[event], **A))
    await memories.add_events_to_memory(**A, events=[event], session_id="t", custom_metadata={"rate": float("inf")})

    assert await recalled(memories, "word \ud83d") == ["word, cut in half: \ud83d"] * 2


async def test_a_deleted_memory_does_not_come_back(memories: BaseMemoryService) -> None:
    session = Session(id="s", events=[said("word one"), said("word two")], **A)
    await memories.add_session_to_memory(session)

    await memories.delete_memory(**A, memory_id=session.events[0].id)
    await memories.delete_memory(**A, memory_id="unknown")
    await memories.add_session_to_memory(session)

    assert await recalled(memories, "word") == ["word two"]


async def test_a_memory_that_is_added_by_itself_is_found(memories: BaseMemoryService) -> None:
    entry = MemoryEntry(content=Content(parts=[Part(text="word")]), author="me", custom_metadata={"n": 1})
    await memories.add_memory(**A, memories=[entry])

    found = (await memories.search_memory(**A, query="word")).memories
    assert [(each.author, each.custom_metadata) for each in found] == [("me", {"n": 1})]
    await memories.delete_memory(**A, memory_id=found[0].id)
    assert await recalled(memories, "word") == []

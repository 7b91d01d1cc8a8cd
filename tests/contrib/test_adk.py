"""What ADK says of its services, as facts: on our services on each engine, and on those that ADK ships.

`FAILS` names the facts that do not hold on ADK's own services.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from google.adk.artifacts import BaseArtifactService, InMemoryArtifactService
from google.adk.errors import StaleSessionError
from google.adk.errors.already_exists_error import AlreadyExistsError
from google.adk.errors.input_validation_error import InputValidationError
from google.adk.errors.session_not_found_error import SessionNotFoundError
from google.adk.events import Event, EventActions
from google.adk.memory import BaseMemoryService, InMemoryMemoryService
from google.adk.memory.memory_entry import MemoryEntry
from google.adk.sessions import BaseSessionService, DatabaseSessionService, InMemorySessionService, Session
from google.adk.sessions.base_session_service import GetSessionConfig
from google.genai.types import Blob, Content, FileData, Part

from contrib.storages import ENGINES, expect_what_fails, opened
from swarm_persistence import EventModel
from swarm_persistence.contrib.adk import SwarmArtifactService, SwarmMemoryService, SwarmSessionService

FAILS = {
    "test_a_stale_copy_of_a_session_is_refused": {"adk-memory"},
    "test_of_two_writers_of_one_version_one_is_refused": {"adk-memory"},
    "test_events_of_equal_time_keep_the_order_in_which_they_were_appended": {"adk-database"},
    "test_an_event_that_is_delivered_twice_is_stored_once": {"adk-database"},
    "test_two_sessions_that_change_different_keys_of_the_users_state_lose_nothing": {"adk-database"},
    "test_an_artifact_saved_without_a_session_belongs_to_the_user": {"adk-memory"},
    "test_a_memory_that_is_added_by_itself_is_found": {"adk-memory"},
}
A: Any = {"app_name": "app", "user_id": "user"}


@pytest.fixture(autouse=True)
def _expect_what_fails(request: pytest.FixtureRequest) -> None:
    expect_what_fails(request, FAILS)


@pytest_asyncio.fixture(params=[*ENGINES, "adk-memory", "adk-database"])
async def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BaseSessionService]:
    """Give each service of sessions."""
    async with AsyncExitStack() as stack:
        if request.param == "adk-memory":
            yield InMemorySessionService()
        elif request.param == "adk-database":
            yield await stack.enter_async_context(DatabaseSessionService(f"sqlite+aiosqlite:///{tmp_path}/adk.db"))
        else:
            storage = await stack.enter_async_context(await opened(request.param, request, tmp_path))
            yield SwarmSessionService(storage)


@pytest_asyncio.fixture(params=[*ENGINES, "adk-memory"])
async def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BaseArtifactService]:
    """Give each service of artifacts."""
    if request.param == "adk-memory":
        yield InMemoryArtifactService()
        return
    async with await opened(request.param, request, tmp_path) as storage:
        yield SwarmArtifactService(storage)


@pytest_asyncio.fixture(params=[*ENGINES, "adk-memory"])
async def memories(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BaseMemoryService]:
    """Give each service of memory."""
    if request.param == "adk-memory":
        yield InMemoryMemoryService()
        return
    async with await opened(request.param, request, tmp_path) as storage:
        yield SwarmMemoryService(storage)


def said(text: str, delta: dict[str, Any] | None = None, **fields: Any) -> Event:
    """Return an event with a text."""
    content = Content(role="user", parts=[Part(text=text)])
    return Event(author="user", content=content, actions=EventActions(state_delta=delta or {}), **fields)


async def read(sessions: BaseSessionService, id: str = "s", **config: Any) -> Session:
    """Return the stored session."""
    found = await sessions.get_session(**A, session_id=id, config=GetSessionConfig(**config))
    assert found is not None
    return found


def texts(session: Session) -> list[str]:
    """Return what was said."""
    return [part.text or "" for event in session.events for part in (event.content or Content()).parts or ()]


async def test_a_session_without_an_id_gets_one(sessions: BaseSessionService) -> None:
    first, second = [await sessions.create_session(**A) for _ in range(2)]

    assert first.id != second.id
    assert (await read(sessions, first.id)).id == first.id


async def test_a_known_id_is_refused(sessions: BaseSessionService) -> None:
    await sessions.create_session(**A, session_id="s", state={"user:n": 1})

    with pytest.raises(AlreadyExistsError):
        await sessions.create_session(**A, session_id="s", state={"user:n": 2})

    assert (await read(sessions)).state == {"user:n": 1}


async def test_ids_belong_to_an_app_and_a_user(sessions: BaseSessionService) -> None:
    for app, user in (("a", "b"), ("a", "c"), ("b", "b")):
        await sessions.create_session(app_name=app, user_id=user, session_id="s", state={"from": app + user})

    found = await sessions.get_session(app_name="a", user_id="c", session_id="s")
    assert found is not None
    assert found.state == {"from": "ac"}


async def test_an_unknown_session_is_none(sessions: BaseSessionService) -> None:
    assert await sessions.get_session(**A, session_id="unknown") is None


async def test_state_has_its_scopes(sessions: BaseSessionService) -> None:
    state = {"app:a": 1, "user:u": 2, "own": 3, "temp:t": 4}
    created = await sessions.create_session(**A, session_id="s", state=state)
    same_user = await sessions.create_session(**A, session_id="t")
    other_user = await sessions.create_session(app_name="app", user_id="other")
    other_app = await sessions.create_session(app_name="other", user_id="user")

    assert created.state == {"app:a": 1, "user:u": 2, "own": 3}
    assert same_user.state == {"app:a": 1, "user:u": 2}
    assert other_user.state == {"app:a": 1}
    assert other_app.state == {}


async def test_an_event_changes_the_state_of_each_scope(sessions: BaseSessionService) -> None:
    session = await sessions.create_session(**A, session_id="s", state={"own": {"n": 1}, "gone": 1})
    delta = {"app:a": 1, "user:u": [2], "own": None, "temp:t": 4, "gone": False}

    await sessions.append_event(session, said("x", dict(delta)))

    lasting = {key: value for key, value in delta.items() if key != "temp:t"}
    assert session.state == delta
    stored = await read(sessions)
    assert stored.state == lasting
    assert stored.events[0].actions.state_delta == lasting
    assert await sessions.get_user_state(**A) == {"u": [2]}
    assert await sessions.get_user_state(app_name="app", user_id="other") == {}


async def test_a_partial_event_is_not_stored(sessions: BaseSessionService) -> None:
    session = await sessions.create_session(**A, session_id="s")

    await sessions.append_event(session, said("x", {"n": 1}, partial=True))

    stored = await read(sessions)
    assert (stored.events, stored.state, session.events) == ([], {}, [])


async def test_an_event_comes_out_equal(sessions: BaseSessionService) -> None:
    session = await sessions.create_session(**A, session_id="s")
    parts = [Part(text="ä\U0001f600"), Part(inline_data=Blob(mime_type="image/png", data=b"\0\xff\x80"))]
    event = Event(
        author="agent",
        invocation_id="run",
        branch="a.b",
        content=Content(role="model", parts=parts),
        custom_metadata={"n": [1, {"x": None}]},
        timestamp=1_700_000_000.123456,
        actions=EventActions(artifact_delta={"f": 2}, escalate=True),
    )

    await sessions.append_event(session, event)

    stored = await read(sessions)
    assert stored.events == [event] == session.events
    assert stored.last_update_time == event.timestamp == session.last_update_time


async def test_events_come_in_the_order_in_which_they_were_appended(sessions: BaseSessionService) -> None:
    session = await sessions.create_session(**A, session_id="s")
    for number in range(15):
        await sessions.append_event(session, said(str(number), timestamp=1000.0 + number))

    assert texts(await read(sessions)) == [str(number) for number in range(15)]


async def test_events_of_equal_time_keep_the_order_in_which_they_were_appended(sessions: BaseSessionService) -> None:
    session = await sessions.create_session(**A, session_id="s")
    for number in range(15):
        await sessions.append_event(session, said(str(number), timestamp=1000.0, id=f"{99 - number}"))

    assert texts(await read(sessions)) == [str(number) for number in range(15)]


async def test_a_part_of_the_events_is_read(sessions: BaseSessionService) -> None:
    session = await sessions.create_session(**A, session_id="s")
    for number in range(5):
        await sessions.append_event(session, said(str(number), timestamp=1000.0 + number))

    assert texts(await read(sessions, num_recent_events=2)) == ["3", "4"]
    assert texts(await read(sessions, num_recent_events=0)) == []
    assert texts(await read(sessions, after_timestamp=1003.0)) == ["3", "4"]
    assert texts(await read(sessions, after_timestamp=1003.0, num_recent_events=1)) == ["4"]


async def test_a_session_of_which_a_part_was_read_goes_on(sessions: BaseSessionService) -> None:
    session = await sessions.create_session(**A, session_id="s")
    await sessions.append_event(session, said("1"))

    await sessions.append_event(await read(sessions, num_recent_events=0), said("2"))

    assert texts(await read(sessions)) == ["1", "2"]


async def test_a_stale_copy_of_a_session_is_refused(sessions: BaseSessionService) -> None:
    session = await sessions.create_session(**A, session_id="s")
    stale = await read(sessions)
    await sessions.append_event(session, said("1"))

    with pytest.raises(StaleSessionError):
        await sessions.append_event(stale, said("2", {"app:n": 2}))

    stored = await read(sessions)
    assert (texts(stored), stored.state) == (["1"], {})


async def test_a_session_may_be_made_by_the_caller_if_its_events_are_those_stored(sessions: BaseSessionService) -> None:
    await sessions.append_event(await sessions.create_session(**A, session_id="s"), said("1"))
    parsed = Session.model_validate((await read(sessions)).model_dump())

    await sessions.append_event(parsed, said("2"))
    await sessions.append_event(parsed, said("3"))

    assert texts(await read(sessions)) == ["1", "2", "3"]


async def test_of_two_writers_of_one_version_one_is_refused(sessions: BaseSessionService) -> None:
    await sessions.create_session(**A, session_id="s")
    copies = [await read(sessions) for _ in range(2)]

    outcomes = await asyncio.gather(
        *(sessions.append_event(copy, said(f"{n}", {f"k{n}": n})) for n, copy in enumerate(copies)),
        return_exceptions=True,
    )

    assert [type(each) for each in outcomes if not isinstance(each, Event)] == [StaleSessionError]
    stored = await read(sessions)
    assert len(stored.events) == len(stored.state) == 1


async def test_tasks_that_share_a_session_append_to_it_side_by_side(sessions: BaseSessionService) -> None:
    session = await sessions.create_session(**A, session_id="s")

    await asyncio.gather(*(sessions.append_event(session, said(str(n), {f"k{n}": n})) for n in range(10)))

    stored = await read(sessions)
    assert sorted(texts(stored), key=int) == [str(n) for n in range(10)]
    assert stored.state == {f"k{n}": n for n in range(10)} == session.state


async def test_two_sessions_that_change_different_keys_of_the_users_state_lose_nothing(
    sessions: BaseSessionService,
) -> None:
    both = [await sessions.create_session(**A, session_id=f"s{n}") for n in range(8)]

    await asyncio.gather(
        *(sessions.append_event(each, said("x", {f"user:k{n}": n, f"app:k{n}": n})) for n, each in enumerate(both))
    )

    state = (await read(sessions, "s0")).state
    assert state == {f"{scope}:k{n}": n for n in range(8) for scope in ("user", "app")}


async def test_an_event_that_is_delivered_twice_is_stored_once(sessions: BaseSessionService) -> None:
    session = await sessions.create_session(**A, session_id="s")
    event = said("x", {"n": 1})
    await sessions.append_event(session, event)

    await sessions.append_event(await read(sessions), event.model_copy(deep=True))

    assert texts(await read(sessions)) == ["x"]


async def test_an_unknown_or_deleted_session_takes_no_event(sessions: BaseSessionService) -> None:
    deleted = await sessions.create_session(**A, session_id="s")
    await sessions.delete_session(**A, session_id="s")

    for session in (deleted, Session(id="unknown", **A)):
        with pytest.raises(SessionNotFoundError):
            await sessions.append_event(session, said("x"))


async def test_a_deleted_session_is_gone_with_its_events(sessions: BaseSessionService) -> None:
    session = await sessions.create_session(**A, session_id="s", state={"user:u": 1, "own": 1})
    await sessions.append_event(session, said("x"))

    await sessions.delete_session(**A, session_id="s")
    await sessions.delete_session(**A, session_id="s")

    assert await sessions.get_session(**A, session_id="s") is None
    again = await sessions.create_session(**A, session_id="s")
    assert (again.state, (await read(sessions)).events) == ({"user:u": 1}, [])


async def test_sessions_are_listed_by_their_last_update_without_events(sessions: BaseSessionService) -> None:
    for number, user in ((3, "user"), (1, "user"), (2, "other")):
        session = await sessions.create_session(app_name="app", user_id=user, session_id=f"{number}")
        await sessions.append_event(session, said("x", {f"user:{user}": 1, "n": number}, timestamp=2e9 + number))

    mine = (await sessions.list_sessions(**A)).sessions
    all_of_them = (await sessions.list_sessions(app_name="app")).sessions

    assert [(each.id, each.events) for each in mine] == [("1", []), ("3", [])]
    assert [each.id for each in all_of_them] == ["1", "2", "3"]
    assert all_of_them[1].state == {"user:other": 1, "n": 2}
    assert (await sessions.list_sessions(app_name="unknown")).sessions == []


async def test_what_is_returned_is_a_copy(sessions: BaseSessionService) -> None:
    session = await sessions.create_session(**A, session_id="s", state={"list": [1]})
    session.state["list"].append(2)
    (await read(sessions)).state["list"].append(3)

    assert (await read(sessions)).state == {"list": [1]}


@pytest.mark.parametrize("engine", ENGINES)
async def test_an_event_belongs_to_the_callers_transaction(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with await opened(engine, request, tmp_path) as storage:
        sessions = SwarmSessionService(storage)
        session = await sessions.create_session(**A, session_id="s")

        async def append_and_fail() -> None:
            async with storage.transaction():
                await sessions.append_event(session, said("x", {"user:n": 1}))
                await storage.store_event(EventModel.new("said", {}))
                raise RuntimeError("the power is cut")

        with pytest.raises(RuntimeError, match="cut"):
            await append_and_fail()

        stored = await read(sessions)
        assert (stored.events, stored.state, await storage.read_events()) == ([], {}, [])


S: Any = {**A, "session_id": "s"}


async def test_versions_of_an_artifact_count_from_zero(artifacts: BaseArtifactService) -> None:
    for number in range(12):
        assert await artifacts.save_artifact(**S, filename="a/b.txt", artifact=Part(text=f"{number}")) == number

    assert await artifacts.load_artifact(**S, filename="a/b.txt") == Part(text="11")
    assert await artifacts.load_artifact(**S, filename="a/b.txt", version=2) == Part(text="2")
    assert await artifacts.load_artifact(**S, filename="a/b.txt", version=12) is None
    assert await artifacts.list_versions(**S, filename="a/b.txt") == [*range(12)]
    assert await artifacts.list_versions(**S, filename="unknown") == []


async def test_writers_of_one_artifact_get_versions_of_their_own(artifacts: BaseArtifactService) -> None:
    saved = await asyncio.gather(
        *(artifacts.save_artifact(**S, filename="f", artifact=Part(text=f"{n}")) for n in range(10))
    )

    assert sorted(saved) == [*range(10)]
    for number, version in enumerate(saved):
        assert await artifacts.load_artifact(**S, filename="f", version=version) == Part(text=f"{number}")


async def test_bytes_of_an_artifact_come_out_equal(artifacts: BaseArtifactService) -> None:
    part = Part(inline_data=Blob(mime_type="image/png", data=bytes(range(256)) * 1000, display_name="picture"))
    as_dict = part.model_dump(mode="json", by_alias=True, exclude_none=True)

    for each in (part, as_dict):
        await artifacts.save_artifact(**S, filename="p", artifact=each, custom_metadata={"by": ["me"]})
        assert await artifacts.load_artifact(**S, filename="p") == part

    known = await artifacts.get_artifact_version(**S, filename="p", version=1)
    assert known is not None
    assert (known.version, known.mime_type, known.custom_metadata) == (1, "image/png", {"by": ["me"]})
    assert [each.version for each in await artifacts.list_artifact_versions(**S, filename="p")] == [0, 1]
    assert await artifacts.get_artifact_version(**S, filename="unknown") is None


async def test_an_artifact_of_the_user_is_seen_in_all_sessions(artifacts: BaseArtifactService) -> None:
    await artifacts.save_artifact(**S, filename="user:u", artifact=Part(text="mine"))
    await artifacts.save_artifact(**S, filename="s", artifact=Part(text="session's"))

    assert await artifacts.load_artifact(**A, session_id="t", filename="user:u") == Part(text="mine")
    assert await artifacts.load_artifact(**A, session_id="t", filename="s") is None
    assert await artifacts.list_artifact_keys(**S) == ["s", "user:u"]
    assert await artifacts.list_artifact_keys(**A, session_id="t") == ["user:u"]
    assert await artifacts.list_artifact_keys(app_name="app", user_id="other", session_id="s") == []


async def test_an_artifact_saved_without_a_session_belongs_to_the_user(artifacts: BaseArtifactService) -> None:
    await artifacts.save_artifact(**A, filename="u", artifact=Part(text="mine"))

    assert await artifacts.load_artifact(**A, filename="u") == Part(text="mine")
    assert await artifacts.list_artifact_keys(**A) == ["user:u"]


async def test_a_deleted_artifact_is_gone_with_all_versions(artifacts: BaseArtifactService) -> None:
    for _ in range(2):
        await artifacts.save_artifact(**S, filename="f", artifact=Part(text="x"))
    await artifacts.save_artifact(**S, filename="f/g", artifact=Part(text="y"))

    await artifacts.delete_artifact(**S, filename="f")
    await artifacts.delete_artifact(**S, filename="f")

    assert await artifacts.load_artifact(**S, filename="f") is None
    assert await artifacts.list_artifact_keys(**S) == ["f/g"]
    assert await artifacts.save_artifact(**S, filename="f", artifact=Part(text="z")) == 0


async def test_a_reference_to_an_artifact_is_followed_within_its_scope(artifacts: BaseArtifactService) -> None:
    def reference(user: str, name: str, version: int) -> Part:
        uri = f"artifact://apps/app/users/{user}/sessions/s/artifacts/{name}/versions/{version}"
        return Part(file_data=FileData(file_uri=uri))

    await artifacts.save_artifact(**S, filename="f", artifact=Part(text="x"))
    await artifacts.save_artifact(**S, filename="link", artifact=reference("user", "f", 0))
    await artifacts.save_artifact(**S, filename="loop", artifact=reference("user", "loop", 0))

    assert await artifacts.load_artifact(**S, filename="link") == Part(text="x")
    with pytest.raises(InputValidationError, match="depth"):
        await artifacts.load_artifact(**S, filename="loop")
    with pytest.raises(InputValidationError, match="scope"):
        await artifacts.save_artifact(**S, filename="bad", artifact=reference("other", "f", 0))
    with pytest.raises(InputValidationError):
        await artifacts.save_artifact(**S, filename="empty", artifact=Part())


async def test_what_a_rewind_has_removed_is_absent(artifacts: BaseArtifactService) -> None:
    await artifacts.save_artifact(**S, filename="f", artifact=Part(text="x"))
    removed = Part(inline_data=Blob(mime_type="application/octet-stream", data=b""))
    await artifacts.save_artifact(**S, filename="f", artifact=removed)

    assert await artifacts.load_artifact(**S, filename="f") is None
    assert await artifacts.load_artifact(**S, filename="f", version=0) == Part(text="x")


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

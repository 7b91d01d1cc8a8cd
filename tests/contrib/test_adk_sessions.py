"""What ADK says of its sessions, as facts: on our service on each engine, and on those that ADK ships.

`FAILS` names the facts that do not hold on ADK's own services.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from google.adk.errors import StaleSessionError
from google.adk.errors.already_exists_error import AlreadyExistsError
from google.adk.errors.session_not_found_error import SessionNotFoundError
from google.adk.events import Event, EventActions
from google.adk.sessions import BaseSessionService, DatabaseSessionService, InMemorySessionService, Session
from google.adk.sessions.base_session_service import GetSessionConfig
from google.genai.types import Blob, Content, Part

from contrib.adk_values import A, said
from contrib.storages import ENGINES, expect_what_fails, opened
from swarm_persistence import EventModel
from swarm_persistence.contrib.adk import SwarmSessionService

FAILS = {
    "test_a_stale_copy_of_a_session_is_refused": {"adk-memory"},
    "test_of_two_writers_of_one_version_one_is_refused": {"adk-memory"},
    "test_events_of_equal_time_keep_the_order_in_which_they_were_appended": {"adk-database"},
    "test_an_event_that_is_delivered_twice_is_stored_once": {"adk-database"},
    "test_two_sessions_that_change_different_keys_of_the_users_state_lose_nothing": {"adk-database"},
}


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


async def test_texts_that_are_no_unicode_and_numbers_that_are_no_json_come_back(sessions: BaseSessionService) -> None:
    cut, infinite = "an emoji, cut in half: \ud83d", float("inf")
    state = {"cut": cut, "rate": infinite, "user:cut": cut, "app:rate": -infinite}
    created = await sessions.create_session(**A, session_id="s", state=state)
    assert created.state == (await read(sessions)).state == state

    changed = {"cut": "\ude00", "user:rate": infinite, "NUL": "\0"}
    await sessions.append_event(created, said(cut, changed))

    stored = await read(sessions)
    assert (stored.state, texts(stored)) == (state | changed, [cut])
    [listed] = (await sessions.list_sessions(**A)).sessions
    assert listed.state == state | changed


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

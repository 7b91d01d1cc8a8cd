"""Facts about the sessions of the OpenAI Agents SDK in a storage, on each engine."""

import asyncio
import multiprocessing
from pathlib import Path
from typing import Any, cast

import pytest
from agents import Agent, RunConfig, Runner, Session, SessionSettings, SQLiteSession, TResponseInputItem
from agents.testing import ScriptedModel, assistant_message

from contrib.starting import start
from swarm_persistence import BlockingStorage, InvalidQueryError, Storage, init_storage
from swarm_persistence.contrib.openai_agents import SwarmSession


def said(*texts: str) -> list[TResponseInputItem]:
    """Return the items of what a user has said."""
    return [{"role": "user", "content": text} for text in texts]


async def test_it_is_a_session_to_the_sdk(storage: Storage) -> None:
    session: Session = SwarmSession("one", storage)

    assert isinstance(session, Session)


async def test_items_keep_their_order_within_and_between_writes(storage: Storage) -> None:
    session = SwarmSession("one", storage)
    first, second = said(*map(str, range(50, 0, -1))), said("last")

    await session.add_items(first)
    await session.add_items([])
    await session.add_items(second)

    assert await session.get_items() == first + second
    assert await session.get_items(2) == said("1", "last")
    assert await SwarmSession("other", storage).get_items() == []


@pytest.mark.parametrize("nothing", [[], (), {}])
async def test_no_items_are_added_as_by_the_sdks_own_session(storage: Storage, nothing: Any) -> None:
    sdk_session = SQLiteSession("empty")
    for session in (sdk_session, SwarmSession("empty", storage)):
        await session.add_items(nothing)
        assert await session.get_items() == []
    sdk_session.close()


async def test_an_explicit_limit_overrides_that_of_the_settings(storage: Storage) -> None:
    session = SwarmSession("one", storage, session_settings=SessionSettings(limit=1))
    await session.add_items(said("a", "b", "c"))

    assert await session.get_items() == said("c")
    assert await session.get_items(limit=2) == said("b", "c")


async def test_callers_that_pop_at_once_get_each_item_once(storage: Storage) -> None:
    sessions = [SwarmSession("one", storage) for _ in range(2)]
    await sessions[0].add_items(said(*map(str, range(10))))

    popped = await asyncio.gather(*(sessions[n % 2].pop_item() for n in range(12)))

    found = [cast(Any, item)["content"] for item in popped if item is not None]
    assert sorted(found) == sorted(map(str, range(10)))
    assert popped.count(None) == 2


async def test_a_run_without_await_belongs_to_the_transaction_around_it(storage: Storage) -> None:
    blocking = BlockingStorage(storage)
    session = SwarmSession("one", blocking)
    answers: list[Any] = [[assistant_message(text)] for text in ("Because.", "Like this.")]
    agent = Agent(name="assistant", model=ScriptedModel(answers))

    def run(text: str) -> None:
        # As `Runner.run_sync`, which leaves its event loop open.
        asyncio.run(Runner.run(agent, text, session=session, run_config=RunConfig(tracing_disabled=True)))

    def run_and_fail() -> None:
        with blocking.transaction():
            run("why?")
            raise RuntimeError("the power is cut")

    def run_and_commit() -> None:
        with blocking.transaction():
            run("how?")

    with pytest.raises(RuntimeError, match="the power is cut"):
        await asyncio.to_thread(run_and_fail)
    assert await session.get_items() == []
    await asyncio.to_thread(run_and_commit)
    assert len(await session.get_items()) == 2


async def test_texts_that_are_no_unicode_come_back(storage: Storage) -> None:
    session = SwarmSession("one", storage)
    cut = said("an emoji, cut in half: \ud83d", "NUL: \0")

    await session.add_items(cut)

    assert await session.get_items() == cut
    assert await session.pop_item() == cut[1]


async def test_what_is_no_json_is_refused_before_anything_is_written(storage: Storage) -> None:
    session = SwarmSession("one", storage)

    with pytest.raises(TypeError, match="not JSON serializable"):
        await session.add_items([*said("a"), cast(TResponseInputItem, {"role": "user", "content": object()})])

    assert await session.get_items() == []


async def test_prune_keeps_the_latest_items(storage: Storage) -> None:
    session = SwarmSession("one", storage)
    await session.add_items(said("a", "b"))
    await session.add_items(said("c"))

    assert await session.prune(keep=5) == 0
    assert await session.prune(keep=2) == 1
    assert await session.get_items() == said("b", "c")
    with pytest.raises(InvalidQueryError, match="keep is -1"):
        await session.prune(-1)
    assert await session.prune(0) == 2


async def test_a_session_prunes_and_clears_any_number_of_items(storage: Storage) -> None:
    session = SwarmSession("one", storage)
    for _ in range(2):
        await session.add_items(said("x") * 1_500)

    assert await session.prune(keep=1_000) == 2_000
    await session.clear_session()

    assert await session.get_items() == []


async def test_items_belong_to_the_transaction_around_them(storage: Storage) -> None:
    session = SwarmSession("one", storage)
    transaction = await storage.begin_transaction()
    await session.add_items(said("a"))
    await transaction.rollback()

    assert await session.get_items() == []


@pytest.mark.frameworks
async def test_four_processes_that_start_at_once_on_a_new_file_all_start(tmp_path: Path) -> None:
    files, names = 40, "abcd"  # 160 starts, of which 20 failed with the SDK's own session (its issue 4987)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["contrib.starting"])
    gate = context.Barrier(len(names))
    processes = [context.Process(target=start, args=(str(tmp_path), name, files, gate)) for name in names]

    for process in processes:
        process.start()
    for process in processes:
        await asyncio.to_thread(process.join, 300)

    assert [process.exitcode for process in processes] == [0] * len(names)
    for number in range(files):
        async with await init_storage(tmp_path / f"{number}.db") as storage:
            found = await SwarmSession("shared", storage).get_items()
        assert sorted(cast(Any, item)["content"] for item in found) == [*names]

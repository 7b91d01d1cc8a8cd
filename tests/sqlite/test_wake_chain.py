"""Facts about the threads of a large group: each wakes the next one, and none waits for one that does not come."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from polling import block_until
from sqlite.test_read_turns import engine_of
from swarm_persistence import BlockingStorage, ClosedError, EventModel, open_storage
from swarm_persistence.engines.calling_thread import CallingThreadLoop
from swarm_persistence.engines.sql.sqlite import calling_threads, group_commit, wake_chain
from swarm_persistence.engines.sql.sqlite.batches import held_lock
from swarm_persistence.engines.sql.sqlite.group_commit import GroupCommit, Writer
from swarm_persistence.engines.sql.sqlite.wake_chain import FEWEST_CHAINED, WakeChain
from swarm_persistence_conformance.records import an_agent, an_event
from swarm_persistence_conformance.waiting import LIMIT_SECONDS

THREADS = FEWEST_CHAINED + 4


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take no thread for a late one, however slow the machine is."""
    monkeypatch.setattr(wake_chain, "_LATE_SECONDS", LIMIT_SECONDS)
    monkeypatch.setattr(wake_chain, "_LEAST_BACK", 0)
    monkeypatch.setattr(group_commit, "WATCH_SECONDS", LIMIT_SECONDS)
    monkeypatch.setattr(calling_threads, "_LONGEST_BLOCK_SECONDS", LIMIT_SECONDS)


class Chain(WakeChain):
    """A chain that counts its ends."""

    def __init__(self) -> None:
        super().__init__(self._count)
        self.ends = 0
        self.returned = THREADS

    def wake_some(self, count: int = THREADS) -> list[Any]:
        """Wake so many new threads."""
        waiters = [held_lock() for _ in range(count)]
        self.wake(waiters)
        return waiters

    def _count(self) -> int:
        self.ends += 1
        return self.returned


def woken(waiters: list[Any]) -> int:
    return sum(not waiter.locked() for waiter in waiters)


@pytest.fixture
def chain() -> Chain:
    return Chain()


def make_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take each thread for a late one from now on."""
    monkeypatch.setattr(wake_chain, "_LATE_SECONDS", -1)


@pytest.mark.usefixtures("patient")
class TestWakeChain:
    def test_few_threads_are_woken_at_once(self, chain: Chain) -> None:
        assert woken(chain.wake_some(FEWEST_CHAINED - 1)) == FEWEST_CHAINED - 1
        assert not chain.is_active

    def test_each_of_many_threads_wakes_the_next_one(self, chain: Chain) -> None:
        waiters = chain.wake_some()

        for position, waiter in enumerate(waiters):
            assert woken(waiters) == position + 1
            assert chain.woken is waiter
            assert chain.ends == 0
            chain.pass_on()

        assert not chain.is_active
        assert chain.ends == 1

    def test_a_group_that_is_answered_meanwhile_joins_the_chain(self, chain: Chain) -> None:
        waiters = chain.wake_some()
        waiters += chain.wake_some()

        assert woken(waiters) == 1
        for _ in waiters:
            chain.pass_on()
        assert woken(waiters) == len(waiters)
        assert chain.ends == 1

    def test_a_group_that_is_answered_just_when_the_chain_ends_is_woken(self, chain: Chain) -> None:
        later: list[Any] = []

        class Interrupted(deque[Any]):
            def popleft(self) -> Any:
                if not self and not later:
                    later.extend(chain.wake_some())
                    raise IndexError
                return super().popleft()

        chain._waiters = Interrupted()
        waiters = chain.wake_some()
        for _ in waiters:
            chain.pass_on()

        assert woken(later) == 1
        assert chain.ends == 0

    @pytest.mark.parametrize("notice", [WakeChain.pass_on, WakeChain.break_off_if_late, Chain.wake_some])
    def test_a_late_thread_holds_up_no_other(
        self, chain: Chain, monkeypatch: pytest.MonkeyPatch, notice: Callable[[Chain], object]
    ) -> None:
        waiters = chain.wake_some()
        make_late(monkeypatch)

        notice(chain)

        assert woken(waiters) == THREADS
        assert not chain.is_active
        assert chain.ends == 1

    def test_after_late_threads_fewer_and_fewer_groups_are_chained(
        self, chain: Chain, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_late(monkeypatch)
        chained = []
        for number in range(1000):
            chain.wake_some()
            if chain.is_active:
                chained.append(number)
                chain.pass_on()

        assert chained == [0, 1, 6, 15, 32, 65, 130, 259, 516, 773]

    def test_after_chains_that_end_in_time_one_late_thread_costs_only_its_own_chain(
        self, chain: Chain, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            make_late(patch)
            for _ in range(3):
                chain.wake_some()
                chain.break_off()
        while not chain.is_active:
            chain.wake_some()
        for _ in range(10):
            while chain.is_active:
                chain.pass_on()
            chain.wake_some()
        chain.break_off()

        assert woken(chain.wake_some()) == 1

    def test_threads_that_do_not_come_back_are_woken_at_once(
        self, chain: Chain, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(wake_chain, "_LEAST_BACK", 0.75)
        chain.returned = THREADS // 2
        for _ in range(2):
            chain.wake_some()
            while chain.is_active:
                chain.pass_on()

        assert woken(chain.wake_some()) == THREADS


class Callers:
    """Threads that write at the same time; the first calls of all are one group, which one of them runs."""

    def __init__(self, storage: BlockingStorage, amount: int = THREADS, *, calls: int = 1) -> None:
        self.storage = storage
        self.errors: list[BaseException] = []
        self.done: list[str] = []
        self.is_over = False
        self._calls = calls
        self._threads = [threading.Thread(target=self._write, args=(str(number),)) for number in range(amount)]

    def start(self) -> None:
        """Let the last thread run the calls of all."""
        writer = writer_of(self.storage)
        *waiting, last = self._threads
        writer._lead.acquire()
        for thread in waiting:
            thread.start()
        block_until(lambda: len(writer._inbox) == len(waiting))
        writer._lead.release()
        last.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(LIMIT_SECONDS / 2)
            assert not thread.is_alive()

    def _write(self, name: str) -> None:
        try:
            for number in range(self._calls):
                if self.is_over:
                    break
                self.storage.store_event(an_event(f"{name}-{number}"))
                self.done.append(name)
        except BaseException as error:
            self.errors.append(error)


def writer_of(storage: BlockingStorage) -> Writer:
    return engine_of(storage)._writer


def chain_of(storage: BlockingStorage) -> WakeChain:
    return writer_of(storage).wake_chain


def stored(path: Path) -> int:
    with open_storage(path) as storage:
        return storage.repository(EventModel).count()


@pytest.fixture
def storage(path: Path) -> Iterator[BlockingStorage]:
    with open_storage(path) as storage:
        yield storage


@pytest.fixture
def stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let woken threads go on without waking the next one, as if each of them had died."""
    monkeypatch.setattr(WakeChain, "pass_on", lambda _: None)


class TestGroups:
    @pytest.mark.usefixtures("patient")
    def test_threads_that_write_without_pause_make_full_groups(
        self, storage: BlockingStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes: list[int] = []
        run = GroupCommit.run_group

        def noted(self: GroupCommit, batches: list[Any], **options: Any) -> Any:
            sizes.append(len(batches))
            return run(self, batches, **options)

        monkeypatch.setattr(GroupCommit, "run_group", noted)
        callers = Callers(storage, calls=20)

        callers.start()
        callers.join()

        assert callers.errors == []
        assert sum(sizes) == 20 * THREADS
        assert sum(size >= FEWEST_CHAINED for size in sizes) >= 15

    @pytest.mark.usefixtures("patient")
    @pytest.mark.parametrize("is_woken", [True, False], ids=["after it was woken", "before its turn"])
    def test_the_others_go_on_when_a_thread_is_interrupted_or_times_out(
        self, storage: BlockingStorage, monkeypatch: pytest.MonkeyPatch, *, is_woken: bool
    ) -> None:
        chain = chain_of(storage)
        block = CallingThreadLoop.block
        victims = [threading.Lock()]

        def interrupted(self: CallingThreadLoop, lock: Any, seconds: float) -> bool:
            if not victims or not victims.pop().acquire(blocking=False):
                return block(self, lock, seconds)
            if not is_woken:
                block_until(lambda: chain.is_active)
                return False
            block(self, lock, seconds)
            self._interruption = KeyboardInterrupt()
            return False

        monkeypatch.setattr(CallingThreadLoop, "block", interrupted)
        callers = Callers(storage)

        callers.start()
        callers.join()

        assert [type(error) for error in callers.errors] == [KeyboardInterrupt] * is_woken
        assert storage.repository(EventModel).count() == THREADS

    @pytest.mark.usefixtures("stands_still")
    def test_the_writers_thread_wakes_the_others_when_one_does_not_come(
        self, storage: BlockingStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(calling_threads, "_LONGEST_BLOCK_SECONDS", LIMIT_SECONDS)
        block_until(lambda: writer_of(storage)._is_idle)
        callers = Callers(storage)

        callers.start()
        callers.join()

        assert callers.errors == []
        assert not chain_of(storage).is_active

    @pytest.mark.usefixtures("patient", "stands_still")
    def test_a_thread_that_times_out_wakes_the_others(
        self, storage: BlockingStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(calling_threads, "_LONGEST_BLOCK_SECONDS", 0.02)
        callers = Callers(storage)

        callers.start()
        callers.join()

        assert callers.errors == []

    def test_a_finalizer_may_write_before_its_thread_wakes_the_next_one(
        self, storage: BlockingStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(calling_threads, "_LONGEST_BLOCK_SECONDS", LIMIT_SECONDS)
        pass_on = WakeChain.pass_on
        agents = ["agent-1"]

        def collect_garbage_first(self: WakeChain) -> None:
            if agents:
                storage.store_agent(an_agent(agents.pop()))
            pass_on(self)

        monkeypatch.setattr(WakeChain, "pass_on", collect_garbage_first)
        callers = Callers(storage)

        callers.start()
        callers.join()

        assert callers.errors == []
        assert storage.get_agent("agent-1") is not None

    @pytest.mark.usefixtures("patient")
    def test_of_threads_that_are_always_late_few_groups_are_chained(
        self, storage: BlockingStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        large = chained = 0
        wake = WakeChain.wake

        def noted(self: WakeChain, waiters: Any) -> None:
            nonlocal large, chained
            is_large = len(waiters) >= FEWEST_CHAINED
            large += is_large
            chained += is_large and not self._unchained
            wake(self, waiters)

        monkeypatch.setattr(WakeChain, "wake", noted)
        make_late(monkeypatch)
        callers = Callers(storage, 64, calls=100_000)

        callers.start()
        try:
            block_until(lambda: large >= 30)
        finally:
            callers.is_over = True
            callers.join()

        assert callers.errors == []
        assert 1 <= chained <= 5


@pytest.mark.usefixtures("patient", "stands_still")
class TestBesideAChain:
    """While a chain stands still."""

    @pytest.fixture
    def callers(self, storage: BlockingStorage) -> Iterator[Callers]:
        callers, chain = Callers(storage), chain_of(storage)
        callers.start()
        block_until(lambda: len(callers.done) == 1)
        yield callers
        chain.break_off()
        callers.join()
        assert callers.errors == []

    def test_an_event_loop_writes(self, storage: BlockingStorage, callers: Callers) -> None:
        async def write() -> None:
            for number in range(3):  # the first one goes to the writer's thread, later ones may run in the loop's
                await storage.storage.store_agent(an_agent(f"single-{number}"))
            await asyncio.gather(*(storage.storage.store_agent(an_agent(f"agent-{each}")) for each in range(10)))

        asyncio.run(write())

        assert chain_of(storage).is_active
        assert len(storage.list_agents()) == 13

    def test_what_an_event_loop_writes_is_not_gathered_and_ends_no_gathering(
        self, storage: BlockingStorage, callers: Callers
    ) -> None:
        gathered = writer_of(storage)._gathered
        thread = threading.Thread(target=storage.store_agent, args=(an_agent("gathered"),))
        thread.start()
        block_until(lambda: len(gathered) == 1)

        async def write() -> None:
            for number in range(3):
                await storage.storage.store_agent(an_agent(f"single-{number}"))
                assert len(gathered) == 1
            await asyncio.gather(*(storage.storage.store_agent(an_agent(f"agent-{each}")) for each in range(2)))

        asyncio.run(write())

        assert len(gathered) == 1
        assert {agent.id for agent in storage.list_agents()} == {
            "single-0",
            "single-1",
            "single-2",
            "agent-0",
            "agent-1",
        }
        chain_of(storage).break_off()
        thread.join(LIMIT_SECONDS)
        assert storage.get_agent("gathered") is not None

    def test_a_thread_runs_a_transaction(self, storage: BlockingStorage, callers: Callers) -> None:
        with storage.transaction():
            storage.store_agent(an_agent())

        assert chain_of(storage).is_active
        assert storage.get_agent("agent-1") is not None

    def test_a_watch_begins(self, storage: BlockingStorage, callers: Callers) -> None:
        async def watch() -> None:
            with closing(engine_of(storage).watch(())) as changes:
                async with asyncio.timeout(LIMIT_SECONDS):
                    await changes.wait()

        asyncio.run(watch())

        assert chain_of(storage).is_active

    def test_what_a_thread_writes_waits_for_the_chains_end(self, storage: BlockingStorage, callers: Callers) -> None:
        thread = threading.Thread(target=storage.store_agent, args=(an_agent(),))
        thread.start()
        block_until(lambda: len(writer_of(storage)._gathered) == 1)
        assert storage.get_agent("agent-1") is None

        chain_of(storage).break_off()
        thread.join(LIMIT_SECONDS)

        assert storage.get_agent("agent-1") is not None

    def test_close_wakes_all_and_runs_what_was_gathered(
        self, storage: BlockingStorage, callers: Callers, path: Path
    ) -> None:
        thread = threading.Thread(target=storage.store_event, args=(an_event("gathered"),))
        thread.start()
        block_until(lambda: len(writer_of(storage)._gathered) == 1)

        storage.close()
        thread.join(LIMIT_SECONDS / 2)
        callers.join()

        assert stored(path) == THREADS + 1


class TestClose:
    def test_it_ends_with_threads_in_flight(self, path: Path) -> None:
        storage = open_storage(path)
        callers = Callers(storage, 64, calls=100_000)
        callers.start()
        block_until(lambda: len(callers.done) > 1000)

        storage.close()
        callers.join()

        assert {type(error) for error in callers.errors} == {ClosedError}
        assert stored(path) == len(callers.done)

"""Facts about signals that come in the midst of a blocking call: they end its wait, and harm nothing else."""

import os
import signal
import threading
from asyncio import events
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from sqlite.programs import Program
from swarm_persistence import AgentModel, BlockingStorage, open_storage
from swarm_persistence.engines import calling_thread, deferred_signals
from swarm_persistence.engines.deferred_signals import DeferredSignals
from swarm_persistence_conformance.records import an_agent
from swarm_persistence_conformance.waiting import LIMIT_SECONDS

_IGNORING = ("-W", "ignore")
"""Python warns of a coroutine if a signal comes between its making and its start."""


class TestSignals:
    def test_ctrl_c_ends_the_wait_for_another_program(self, path: Path) -> None:
        open_storage(path).close()
        with closing(apsw.Connection(str(path))) as other:
            other.execute("BEGIN IMMEDIATE").fetchall()
            program = Program(
                """
                import sys, threading
                from swarm_persistence import AgentModel, open_storage

                with open_storage(sys.argv[1]) as storage:
                    def tell():
                        while storage.pool_status().active == 0:
                            pass
                        print("waits", flush=True)

                    threading.Thread(target=tell).start()
                    try:
                        storage.store_agent(AgentModel(id="given up", name="", agent_type=""))
                    except KeyboardInterrupt:
                        print("interrupted", flush=True)
                    sys.stdin.readline()
                """,
                path,
            )
            assert program.wait_for_line() == "waits"
            os.kill(program.process.pid, signal.SIGINT)
            assert program.wait_for_line() == "interrupted"
            other.execute("ROLLBACK").fetchall()
            program.tell("end")
            program.finish()

    def test_signals_in_the_midst_of_commits_harm_no_other_thread(self, path: Path) -> None:
        program = Program(
            """
            import signal, sys, threading
            from swarm_persistence import AgentModel, open_storage

            class Alarm(Exception):
                pass

            def ring(*_):
                raise Alarm

            signal.signal(signal.SIGALRM, ring)
            with open_storage(sys.argv[1]) as storage:
                errors, over = [], threading.Event()
                stored = {"main": 0}

                def work(name):
                    number = stored[name] = 0
                    while not over.is_set():
                        try:
                            storage.store_agent(AgentModel(id=f"{name}-{number}", name="", agent_type=""))
                        except BaseException as error:
                            errors.append(error)
                        number += 1
                        stored[name] = number

                others = [threading.Thread(target=work, args=(f"thread {each}",)) for each in range(2)]
                for other in others:
                    other.start()
                rung = number = 0
                returned = []
                while rung < 100:
                    try:
                        signal.setitimer(signal.ITIMER_REAL, 0.0001 * (rung % 20 + 1))
                        while True:
                            number += 1
                            storage.store_agent(AgentModel(id=f"main-{number}", name="", agent_type=""))
                            returned.append(f"main-{number}")
                    except Alarm:
                        rung += 1
                over.set()
                for other in others:
                    other.join()
                found = {agent.id for agent in storage.list_agents()}
                print(errors, set(returned) <= found)
                print([sum(id.startswith(name) for id in found) == count for name, count in stored.items()][1:])
                print(signal.getsignal(signal.SIGALRM) is ring)
            """,
            path,
            options=_IGNORING,
        )

        assert program.finish() == ["[] True", "[True, True]", "True"]

    def test_an_interrupted_call_leaves_nothing_to_the_garbage_collector(self, path: Path) -> None:
        """A signal during a collection is lost, as Python ignores what is raised in a weak reference's callback."""
        open_storage(path).close()
        with closing(apsw.Connection(str(path))) as other:
            other.execute("BEGIN IMMEDIATE").fetchall()
            program = Program(
                """
                import gc, signal, sys
                from swarm_persistence import AgentModel, open_storage

                class Alarm(Exception):
                    pass

                def ring(*_):
                    raise Alarm

                signal.signal(signal.SIGALRM, ring)
                with open_storage(sys.argv[1]) as storage:
                    def interrupt():
                        try:
                            signal.setitimer(signal.ITIMER_REAL, 0.1)
                            storage.store_agent(AgentModel(id="given up", name="", agent_type=""))
                        except Alarm:
                            print("interrupted", flush=True)

                    interrupt()
                    gc.collect()
                    gc.disable()
                    interrupt()
                    gc.set_debug(gc.DEBUG_SAVEALL)
                    gc.collect()
                    print(gc.garbage, flush=True)
                    gc.set_debug(0)
                    sys.stdin.readline()
                """,
                path,
            )
            lines = [program.wait_for_line() for _ in range(3)]
            other.execute("ROLLBACK").fetchall()
            program.tell("end")
            program.finish()

        assert lines == ["interrupted", "interrupted", "[]"]

    @pytest.mark.parametrize(
        "opening",
        [
            # Unsynced, as the timer counts the processor's time: thousands of syncs would come between the signals.
            pytest.param('asyncio.run(SqliteStorage.open(sys.argv[1], durability="normal"))', id="file"),
            pytest.param("MemoryStorage()", id=":memory:"),
        ],
    )
    def test_a_handler_of_any_signal_may_call_the_storage(self, path: Path, opening: str) -> None:
        """In the midst of the call that it interrupts, it would wait for a lock of its own thread."""
        program = Program(
            f"""
            import asyncio, signal, sys
            from swarm_persistence import AgentModel, BlockingStorage, MemoryStorage, SqliteStorage

            def ring(*_):
                storage.store_agent(AgentModel(id=f"signal-{{len(rung)}}", name="", agent_type=""))
                rung.append(storage.get_agent("main-1").id)

            rung, number = [], 1
            signal.signal(signal.SIGPROF, ring)
            with BlockingStorage({opening}) as storage:
                storage.store_agent(AgentModel(id="main-1", name="", agent_type=""))
                while len(rung) < 200:
                    signal.setitimer(signal.ITIMER_PROF, 0.0001 * (len(rung) % 20 + 1))
                    before = len(rung)
                    while len(rung) == before:
                        number += 1
                        storage.store_agent(AgentModel(id=f"main-{{number}}", name="", agent_type=""))
                        storage.get_agent(f"main-{{number}}")
                signal.setitimer(signal.ITIMER_PROF, 0)
                print(len(storage.list_agents()) == number + len(rung), storage.pool_status().waiting)
            """,
            path,
        )

        assert program.finish() == ["True 0"]

    @pytest.mark.parametrize(
        "number",
        sorted(
            signal.valid_signals()
            - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGSTKFLT}
            - {signal.SIGSEGV, signal.SIGFPE, signal.SIGILL, signal.SIGBUS, signal.SIGABRT, signal.SIGTRAP}
            - {signal.SIGSYS, *range(signal.SIGRTMIN, signal.SIGRTMAX + 1)}
        ),
    )
    def test_every_signal_that_a_program_handles_is_deferred(self, number: int) -> None:
        received: list[int] = []
        before = signal.signal(number, lambda number, _: received.append(number))
        signals = DeferredSignals()
        try:
            signals.defer()
            signal.raise_signal(number)
            assert received == []
            signals.deliver()
            assert received == [number]
        finally:
            signals.deliver()
            signal.signal(number, before)

    def test_a_handler_that_calls_the_storage_as_a_call_defers_it_stays_in_place(
        self, storage: BlockingStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its own call defers and delivers signals as well, by the same thread."""
        install = deferred_signals._signal.signal
        sent: list[int] = []
        found: list[object] = []

        def look(*_: object) -> None:
            found.append(storage.get_agent("agent-1"))

        def receive_then_install(number: int, handler: Any) -> Any:
            if number == signal.SIGUSR1 and not sent:
                sent.append(number)
                signal.raise_signal(number)  # while `look` is still in place
            return install(number, handler)

        before = signal.signal(signal.SIGUSR1, look)
        try:
            with monkeypatch.context() as patch:
                patch.setattr(deferred_signals._signal, "signal", receive_then_install)
                storage.get_agent("agent-1")

            assert found == [None]
            assert signal.getsignal(signal.SIGUSR1) is look
        finally:
            signal.signal(signal.SIGUSR1, before)

    def test_a_claim_that_ctrl_c_interrupts_is_given_back(self, path: Path) -> None:
        program = Program(
            """
            import signal, sys
            from swarm_persistence import TaskModel, open_storage

            class Alarm(Exception):
                pass

            def ring(*_):
                frame = sys._getframe()
                while frame is not None:
                    if frame.f_code.co_name in ("_run", "deliver_signals"):
                        raise Alarm  # within the call; elsewhere the claim has its owner already
                    frame = frame.f_back

            signal.signal(signal.SIGALRM, ring)
            with open_storage(sys.argv[1]) as storage:
                claimed = set()
                storage.store_tasks([TaskModel.new("job", each) for each in range(400)])
                for rung in range(60):
                    try:
                        signal.setitimer(signal.ITIMER_REAL, 0.0001 * (rung % 20 + 1))
                        for _ in range(5):
                            task = storage.claim_next_task("agent")
                            claimed.add(task.id)
                        signal.setitimer(signal.ITIMER_REAL, 0)
                    except Alarm:
                        pass
            with open_storage(sys.argv[1]) as storage:
                held = {claim.id for claim in storage.get_tasks_by_agent("agent")}
                print(held - claimed)
            """,
            path,
            options=_IGNORING,
        )

        assert program.finish() == ["set()"]

    def test_signals_in_the_midst_of_reads_harm_no_later_call(self, path: Path) -> None:
        program = Program(
            """
            import signal, sys
            from swarm_persistence import AgentModel, open_storage

            class Alarm(Exception):
                pass

            def ring(*_):
                raise Alarm

            signal.signal(signal.SIGALRM, ring)
            storage = open_storage(sys.argv[1])
            storage.store_many([AgentModel(id=f"{number}", name="", agent_type="") for number in range(10)])
            rung, number, wrong = 0, 0, []
            while rung < 500:
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.00005 * (rung % 20 + 1))
                    while True:
                        number += 1
                        agent = storage.get_agent(f"{number % 10}")
                        if agent is None or agent.id != f"{number % 10}" or len(storage.list_agents()) != 10:
                            wrong.append(agent)
                except Alarm:
                    rung += 1
                except Exception as error:
                    wrong.append(error)
            signal.setitimer(signal.ITIMER_REAL, 0)
            print(wrong[:3], storage.pool_status().active)
            storage.close()
            """,
            path,
            options=_IGNORING,
        )

        assert program.finish() == ["[] 0"]

    def test_ctrl_c_ends_a_function_of_modify(self, storage: BlockingStorage) -> None:
        storage.store_agent(an_agent())

        def interrupt(_: AgentModel) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(LIMIT_SECONDS)
            raise AssertionError("not interrupted")

        with pytest.raises(KeyboardInterrupt):
            storage.modify(AgentModel, "agent-1", interrupt)

        stored = storage.get_agent("agent-1")
        assert stored is not None
        assert stored.version == 1

    def test_a_child_forked_by_another_thread_has_its_handlers(self) -> None:
        signals = DeferredSignals()
        handler = signal.getsignal(signal.SIGINT)
        outcomes: list[int] = []

        def fork() -> None:
            child = os.fork()
            if not child:
                os._exit(signal.getsignal(signal.SIGINT) is not handler)
            outcomes.append(os.waitpid(child, 0)[1])

        signals.defer()
        try:
            assert signal.getsignal(signal.SIGINT) is not handler
            thread = threading.Thread(target=fork)
            thread.start()
            thread.join(LIMIT_SECONDS)
        finally:
            signals.deliver()

        assert outcomes == [0]
        assert signal.getsignal(signal.SIGINT) is handler

    def test_a_signal_that_comes_as_signals_are_deferred_again_interrupts_when_the_call_ends(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        numbers = (signal.SIGINT, signal.SIGTERM)
        handlers = [signal.getsignal(number) for number in numbers]
        getsignal = deferred_signals._signal.getsignal
        sent: list[int] = []

        def receive_then_get(number: int) -> Any:
            if number == signal.SIGTERM and not sent:
                sent.append(number)
                signal.raise_signal(signal.SIGTERM)  # when SIGINT is deferred already
            return getsignal(number)

        def end(*_: object) -> None:
            raise SystemExit

        signal.signal(signal.SIGTERM, end)
        try:
            with closing(calling_thread.CallingThreadLoop()) as loop, monkeypatch.context() as patch:
                patch.setattr(deferred_signals._signal, "getsignal", receive_then_get)

                assert not loop.block(threading.Lock(), LIMIT_SECONDS)
                signal.raise_signal(signal.SIGTERM)  # deferred as well

                with pytest.raises(SystemExit):
                    loop.deliver_signals()
                assert sent == [signal.SIGTERM]
        finally:
            events._set_running_loop(None)  # a call does so when it ends
            signal.signal(signal.SIGTERM, handlers[1])
        assert [signal.getsignal(number) for number in numbers] == handlers

"""Facts about several processes on one file: they share it, die on it, and fork around it."""

from pathlib import Path

import pytest

from sqlite.programs import Program, run_program
from swarm_persistence import AgentModel, SqliteStorage, TaskModel
from swarm_persistence_conformance.records import a_task, an_agent, ids

CLAIM = """
    import asyncio, sys
    from swarm_persistence import SqliteStorage

    async def main(path, agent):
        async with await SqliteStorage.open(path) as storage:
            print("ready", flush=True)
            sys.stdin.readline()

            async def claim(tasks):
                return [task.id for task in tasks if await storage.claim_task(task.id, agent)]

            tasks = await storage.get_pending_tasks()
            won = await asyncio.gather(*(claim(tasks[start::4]) for start in range(4)))
        print(*(id for each in won for id in each))

    asyncio.run(main(*sys.argv[1:]))
"""

WRITE = """
    import asyncio, sys
    from swarm_persistence import AgentModel, SqliteStorage

    async def main(path, name, count):
        async with await SqliteStorage.open(path) as storage:
            for number in range(int(count)):
                async with storage.transaction():
                    await storage.store_agent(AgentModel(id=f"{name}-{number}", name="", agent_type=""))
                agent = await storage.get_agent(f"{name}-{number}")
                agent.update_heartbeat()
                await storage.update_agent(agent)

    asyncio.run(main(*sys.argv[1:]))
"""

OPEN = """
    import asyncio, sys
    from swarm_persistence import AgentModel, SqliteStorage

    async def main(path, name):
        async with await SqliteStorage.open(path) as storage:
            await storage.store_agent(AgentModel(id=name, name="", agent_type=""))

    print("ready", flush=True)
    while path := sys.stdin.readline().strip():
        asyncio.run(main(path, sys.argv[1]))
        print("ready", flush=True)
"""

WRITE_UNTIL_KILLED = """
    import asyncio, sys
    from swarm_persistence import AgentModel, SqliteStorage

    async def write(storage, name):
        number = 0
        while True:
            id = f"{name}-{number}"
            await storage.store_agent(AgentModel(id=id, name="x" * 2000, agent_type=""))
            print(id, flush=True)
            number += 1

    async def main(path):
        storage = await SqliteStorage.open(path)
        await asyncio.gather(*(write(storage, name) for name in "abcdefgh"))

    asyncio.run(main(sys.argv[1]))
"""


class TestSharing:
    async def test_four_processes_claim_each_task_once(self, storage: SqliteStorage, path: Path) -> None:
        await storage.store_many([a_task(f"task-{number}") for number in range(500)])
        programs = [Program(CLAIM, path, f"agent-{number}") for number in range(4)]
        assert [program.wait_for_line() for program in programs] == ["ready"] * 4
        for program in programs:
            program.tell("go")

        won = {f"agent-{number}": program.finish()[0].split() for number, program in enumerate(programs)}

        assert sorted(id for each in won.values() for id in each) == sorted(f"task-{number}" for number in range(500))
        stored = await storage.repository(TaskModel).find_all()
        assert {task.id: task.assigned_to for task in stored} == {id: name for name in won for id in won[name]}

    async def test_several_processes_write_at_once_and_none_is_refused(
        self, storage: SqliteStorage, path: Path
    ) -> None:
        programs = [Program(WRITE, path, f"p{number}", 40) for number in range(4)]

        for program in programs:
            assert program.finish() == []

        stored = await storage.repository(AgentModel).find_all()
        assert {agent.id: agent.version for agent in stored} == {
            f"p{p}-{number}": 2 for p in range(4) for number in range(40)
        }

    async def test_ten_processes_open_a_new_file_at_once(self, tmp_path: Path) -> None:
        programs = [Program(OPEN, f"agent-{number}") for number in range(10)]
        paths = [tmp_path / f"swarm-{number}.db" for number in range(5)]

        for path in paths:
            assert [program.wait_for_line() for program in programs] == ["ready"] * 10
            for program in programs:
                program.tell(str(path))

        assert [program.finish() for program in programs] == [["ready"]] * 10
        for path in paths:
            async with await SqliteStorage.open(path) as storage:
                assert set(ids(await storage.list_agents())) == {f"agent-{number}" for number in range(10)}


class TestDeath:
    async def test_a_killed_writer_loses_nothing_that_it_was_told_is_stored(self, path: Path) -> None:
        program = Program(WRITE_UNTIL_KILLED, path)
        lines = [program.wait_for_line() for _ in range(300)]

        acknowledged = set(lines + program.kill())

        async with await SqliteStorage.open(path) as storage:
            stored = set(ids(await storage.repository(AgentModel).find_all()))
            assert acknowledged <= stored
            assert len(stored - acknowledged) <= 8  # each caller's last, stored and not yet told
            await storage.store_agent(an_agent("after"))

    async def test_a_killed_writer_keeps_no_other_process_from_writing(
        self, storage: SqliteStorage, path: Path
    ) -> None:
        program = Program(
            """
            import asyncio, sys
            from swarm_persistence import AgentModel, SqliteStorage

            async def main(path):
                storage = await SqliteStorage.open(path)
                transaction = await storage.begin_transaction()
                await storage.store_agent(AgentModel(id="never", name="", agent_type=""))
                print("holds", flush=True)
                sys.stdin.readline()

            asyncio.run(main(sys.argv[1]))
            """,
            path,
        )
        assert program.wait_for_line() == "holds"

        program.kill()

        await storage.store_agent(an_agent("after"))
        assert ids(await storage.list_agents()) == ["after"]


class TestForks:
    def test_a_child_that_touches_its_parents_storage_is_told_and_the_parent_goes_on(self, path: Path) -> None:
        lines = run_program(
            """
            import asyncio, os, sys
            from swarm_persistence import AgentModel, ClosedError, SqliteStorage, open_storage

            async def main(path):
                async with await SqliteStorage.open(path) as storage:
                    await storage.store_agent(AgentModel(id="before", name="", agent_type=""))
                    transaction = await storage.begin_transaction()
                    child = os.fork()
                    if child == 0:
                        for call in (storage.list_agents(), transaction.commit(), transaction.rollback()):
                            try:
                                await call
                            except ClosedError as error:
                                print(error, flush=True)
                        await storage.close()
                        with open_storage(path) as own:
                            print([agent.id for agent in own.list_agents()], flush=True)
                        os._exit(0)
                    assert os.waitpid(child, 0)[1] == 0
                    await storage.store_agent(AgentModel(id="after", name="", agent_type=""))
                    await transaction.commit()
                    print([agent.id for agent in await storage.list_agents()])

            asyncio.run(main(sys.argv[1]))
            """,
            path,
        )

        assert len(lines) == 5
        assert "was opened by the process that this one was forked from; open it anew here" in lines[0]
        assert "belongs to the process that this one was forked from" in lines[1]
        assert "belongs to the process that this one was forked from" in lines[2]
        assert lines[3:] == ["['before']", "['after', 'before']"]

    def test_a_child_that_ends_leaves_its_parents_files_alone(self, path: Path) -> None:
        # Closing an inherited connection would fold and delete the log under the parent's feet.
        lines = run_program(
            """
            import gc, os, sys
            import apsw
            from swarm_persistence import AgentModel, open_storage

            with open_storage(sys.argv[1]) as storage:
                storage.store_agent(AgentModel(id="before", name="", agent_type=""))
                storage.list_agents()
                before = sorted(os.listdir(os.path.dirname(sys.argv[1])))
                if child := os.fork():
                    assert os.waitpid(child, 0)[1] == 0
                    assert sorted(os.listdir(os.path.dirname(sys.argv[1]))) == before
                    storage.store_agent(AgentModel(id="after", name="", agent_type=""))
                    print(len(storage.list_agents()))
                else:
                    storage = None
                    gc.collect()
                    print(any(isinstance(each, apsw.Connection) for each in gc.get_objects()), flush=True)
                    os._exit(0)
            """,
            path,
        )

        assert lines == ["True", "2"]

    @pytest.mark.parametrize("way", ["sys.exit()", "os._exit(0)", "gc.collect()"])
    def test_however_a_child_ends_the_parent_goes_on(self, path: Path, way: str) -> None:
        lines = run_program(
            f"""
            import gc, os, sys
            from swarm_persistence import AgentModel, open_storage

            storage = open_storage(sys.argv[1])
            storage.store_agent(AgentModel(id="before", name="", agent_type=""))
            child = os.fork()
            if child == 0:
                {way}
            else:
                assert os.waitpid(child, 0)[1] == 0
                storage.store_agent(AgentModel(id="after", name="", agent_type=""))
                print(len(storage.list_agents()))
                storage.close()
            """,
            path,
        )

        assert lines == ["2"]

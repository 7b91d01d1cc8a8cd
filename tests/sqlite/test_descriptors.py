"""Facts about a process without descriptors left: calls say so, and work again once there are some."""

from pathlib import Path

from sqlite.programs import run_program


def test_opening_and_reading_say_so_and_work_again_once_there_are_some(path: Path) -> None:
    printed = run_program(
        """
        import asyncio, os, resource, sys
        from swarm_persistence import AgentModel, DatabaseError, SqliteStorage

        async def main(path):
            await (await SqliteStorage.open(path)).close()
            async with await SqliteStorage.builder().min_idle_connections(0).build(path) as storage:
                resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
                taken = []
                try:
                    while True:
                        taken.append(os.open(os.devnull, os.O_RDONLY))
                except OSError:
                    pass
                for work in (SqliteStorage.open(path), SqliteStorage.open(path + "2"), storage.list_agents()):
                    try:
                        await work
                    except DatabaseError as error:
                        print(error)
                for descriptor in taken:
                    os.close(descriptor)
                await storage.store_agent(AgentModel.new("a", "b"))
                await (await SqliteStorage.open(path + "2")).close()
                print(len(await storage.list_agents()))

        asyncio.run(main(sys.argv[1]))
        """,
        path,
    )

    assert len(printed) == 4
    for line in printed[:3]:
        assert "this process has too many open files; close some, or raise its limit (ulimit -n)" in line
    assert printed[3] == "1"


def test_too_few_descriptors_are_told_as_none_are(path: Path) -> None:
    printed = run_program(
        """
        import asyncio, os, resource, sys
        from swarm_persistence import DatabaseError, SqliteStorage

        async def main(path):
            async with await SqliteStorage.open(path) as storage:
                await storage.backup(path + ".backup")
                await (await SqliteStorage.open(path + "2")).close()
                resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
                taken = []
                try:
                    while True:
                        taken.append(os.open(os.devnull, os.O_RDONLY))
                except OSError:
                    pass
                for _ in range(2):
                    os.close(taken.pop())
                    for work in (SqliteStorage.open(path + "2"), storage.backup(path + ".other")):
                        try:
                            await work
                        except DatabaseError as error:
                            print(error)

        asyncio.run(main(sys.argv[1]))
        """,
        path,
    )

    assert len(printed) == 4
    for line in printed:
        assert "this process has too many open files; close some, or raise its limit (ulimit -n)" in line


def test_the_blocking_form_says_so_and_works_again_once_there_are_some(path: Path) -> None:
    printed = run_program(
        """
        import os, resource, sys
        from swarm_persistence import DatabaseError, SqliteStorage, open_storage

        resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
        taken = []
        try:
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass
        try:
            open_storage(sys.argv[1])
        except DatabaseError as error:
            print(error)
        for descriptor in taken:
            os.close(descriptor)
        with open_storage(sys.argv[1]) as storage:
            print(storage.list_agents())
        """,
        path,
    )

    assert "this process has too many open files; close some, or raise its limit (ulimit -n)" in printed[0]
    assert printed[1:] == ["[]"]


def test_reads_wait_for_the_connections_that_are_open(path: Path) -> None:
    printed = run_program(
        """
        import asyncio, os, resource, sys
        from swarm_persistence import AgentModel, SqliteStorage

        async def main(path):
            async with await SqliteStorage.open(path) as storage:
                await storage.store_many([AgentModel.new(str(number), "b") for number in range(5000)])
                await storage.list_agents()
                resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
                taken = []
                try:
                    while True:
                        taken.append(os.open(os.devnull, os.O_RDONLY))
                except OSError:
                    pass
                reads = []
                for _ in range(10):  # each in a turn of its own: the next one comes while the first is in flight
                    reads.append(asyncio.create_task(storage.list_agents()))
                    await asyncio.sleep(0.001)
                print([len(agents) for agents in await asyncio.gather(*reads)])
                for descriptor in taken:
                    os.close(descriptor)

        asyncio.run(main(sys.argv[1]))
        """,
        path,
    )

    assert printed == [str([5000] * 10)]

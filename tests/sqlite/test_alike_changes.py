"""Facts about the completions of one write: they are few statements, and each has its own verdict."""

import apsw

from sqlite.tracing import Watch
from swarm_persistence import SqliteStorage, TaskModel, TaskStatus
from swarm_persistence_conformance.held_tasks import stored
from swarm_persistence_conformance.records import a_task, ids

COMPLETION = "UPDATE tasks INDEXED BY"


async def held(storage: SqliteStorage, number: int) -> list[TaskModel]:
    await storage.store_tasks([a_task(f"task-{place:03}") for place in range(number)])
    return await storage.claim_next_tasks("agent-1", limit=number)


class TestAlikeChanges:
    async def test_many_completions_are_few_statements_and_each_has_its_own_result(
        self, storage: SqliteStorage, watch: Watch
    ) -> None:
        tasks = await held(storage, 600)
        lost = tasks[::7]
        for task in lost[::2]:
            await storage.release_task(await stored(storage, task.id))
        for task in lost[1::2]:
            await storage.repository(TaskModel).delete(task.id)
        await storage.store_task(a_task("after", dependencies=[task.id for task in tasks if task not in lost]))
        watch.forget_statements()

        done = await storage.complete_and_claim([(task, {"id": task.id}) for task in tasks], "agent-1", limit=0)

        # Of 256, 256 and 88 tasks.
        assert (watch.count(COMPLETION), watch.count("DELETE FROM task_links")) == (3, 3)
        assert not any("payload" in each for each in watch.statements)
        assert ids(done.lost) == ids(lost)
        for task in tasks:
            if task not in lost:
                assert (task.status, task.result) == (TaskStatus.COMPLETED, {"id": task.id})
                assert task == await stored(storage, task.id)
        assert ids(await storage.get_ready_tasks(limit=1_000)) == [*ids(lost[::2]), "after"]

    async def test_a_task_that_is_given_twice_has_the_first_of_its_results(self, storage: SqliteStorage) -> None:
        tasks = await held(storage, 3)
        copy = await stored(storage, tasks[1].id)

        completions = [(task, task.id) for task in (*tasks, copy)]
        done = await storage.complete_and_claim([*completions[:3], (copy, "again")], "agent-1", limit=0)

        assert done.lost == [copy]
        assert (await stored(storage, copy.id)).result == copy.id
        assert [task.version for task in tasks] == [3, 3, 3]

    async def test_statistics_of_an_almost_empty_table_do_not_make_it_read_all_tasks(
        self, storage: SqliteStorage, watch: Watch
    ) -> None:
        for number in (2, 5):
            tasks = await held(storage, number)
            watch.forget_statements()
            await storage.complete_and_claim([(task, None) for task in tasks], "agent-1", limit=0)
            (statement,) = {each for each in watch.statements if each.startswith("UPDATE tasks")}

            connection = apsw.Connection(storage.path)
            connection.execute("ANALYZE")
            values = (None,) * statement.count("?")
            plan = [detail for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
            connection.close()

            assert [step for step in plan if "tasks" in step] == [
                "SEARCH tasks USING INDEX sqlite_autoindex_tasks_1 (id=?)",
                "SEARCH tasks USING COVERING INDEX tasks_changed",
            ]
            for task in tasks:
                await storage.repository(TaskModel).delete(task.id)

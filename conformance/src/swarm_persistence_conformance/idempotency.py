"""Facts about idempotency keys: a record that is sent twice is stored once, and each sender gets the stored one."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from swarm_persistence import ConflictError, EventModel, KeyPolicy, SerializationError, Storage, TaskModel, TaskStatus
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.held_tasks import a_claimed_task, stored
from swarm_persistence_conformance.records import a_task, an_event, everything_in, ids

MAKERS: dict[str, Callable[..., Any]] = {"task": a_task, "event": an_event}


def store(storage: Storage, record: Any) -> Any:
    """Return the verb that stores a task or an event."""
    return storage.store_task(record) if isinstance(record, TaskModel) else storage.store_event(record)


async def all_of(storage: Storage, kind: str) -> list[Any]:
    """Return all tasks or all events."""
    return (await everything_in(storage))["TaskModel" if kind == "task" else "EventModel"]


@pytest.mark.asyncio
class TestIdempotency:
    """The contract of idempotency keys."""

    @pytest.mark.parametrize("kind", MAKERS)
    async def test_the_same_key_again_gives_the_stored_one(self, storage: Storage, kind: str) -> None:
        first = await store(storage, MAKERS[kind]("first", idempotency_key="key"))
        again = MAKERS[kind]("second", idempotency_key="key")
        before = msgspec.structs.replace(again)

        found = await store(storage, again)

        assert found == first
        assert again == before
        assert await all_of(storage, kind) == [first]

    @pytest.mark.parametrize("kind", MAKERS)
    async def test_the_very_same_record_may_be_sent_again(self, storage: Storage, kind: str) -> None:
        record = MAKERS[kind](idempotency_key="key")

        first = await store(storage, record)
        second = await store(storage, MAKERS[kind](idempotency_key="key"))

        assert first is record
        assert second == record
        assert second is not record

    @pytest.mark.parametrize("kind", MAKERS)
    async def test_other_keys_and_none_are_stored(self, storage: Storage, kind: str) -> None:
        keys = ["key", "Key", "key ", "", None, None]
        records = [MAKERS[kind](str(place), idempotency_key=key) for place, key in enumerate(keys)]

        for record in records:
            assert await store(storage, record) is record

        assert await all_of(storage, kind) == records

    async def test_a_task_and_an_event_may_share_a_key(self, storage: Storage) -> None:
        await storage.store_task(a_task(idempotency_key="key"))

        await storage.store_event(an_event(idempotency_key="key"))

        assert len(await storage.read_events()) == 1

    @pytest.mark.parametrize("kind", MAKERS)
    async def test_a_known_id_with_another_key_is_refused(self, storage: Storage, kind: str) -> None:
        first = await store(storage, MAKERS[kind]("same", idempotency_key="key"))

        for key in ("other", None):
            with pytest.raises(ConflictError, match=f"{kind} 'same'"):
                await store(storage, MAKERS[kind]("same", idempotency_key=key))

        assert await all_of(storage, kind) == [first]

    @pytest.mark.parametrize("kind", MAKERS)
    async def test_of_many_that_store_one_key_at_once_one_is_stored_and_all_get_it(
        self, storage: Storage, kind: str
    ) -> None:
        records = [MAKERS[kind](f"{kind}-{number}", idempotency_key="key") for number in range(100)]

        found = await asyncio.gather(*(elsewhere(store(storage, record)) for record in records))

        (only,) = await all_of(storage, kind)
        assert found == [only] * 100
        assert [record.id for record in records if record in found] == [only.id]

    async def test_many_batches_with_one_key_store_it_once(self, storage: Storage) -> None:
        batches = [[a_task(f"{n}-own"), a_task(f"{n}-shared", idempotency_key="key")] for n in range(20)]

        found = await asyncio.gather(*(elsewhere(storage.store_tasks(batch)) for batch in batches))

        tasks = await storage.get_pending_tasks()
        assert len(tasks) == 21
        assert {id for own, _ in found for id in [own.id]} == {f"{n}-own" for n in range(20)}
        assert {shared.id for _, shared in found} == {task.id for task in tasks if task.idempotency_key}

    async def test_a_batch_gives_the_stored_ones_in_their_places(self, storage: Storage) -> None:
        known = await storage.store_task(a_task("known", idempotency_key="a"))
        batch = [
            a_task("1"),
            a_task("2", idempotency_key="a"),
            a_task("3", idempotency_key="b"),
            a_task("4", idempotency_key="b"),
        ]

        found = await storage.store_tasks(batch)

        assert [found[0] is batch[0], found[2] is batch[2]] == [True, True]
        assert found == [batch[0], known, batch[2], batch[2]]
        assert [task.version for task in batch] == [1, 0, 1, 0]

    async def test_a_batch_of_any_models_counts_what_it_stored(self, storage: Storage) -> None:
        await storage.store_event(an_event("known", idempotency_key="a"))

        count = await storage.store_many(
            [
                an_event("again", idempotency_key="a"),
                a_task("task", idempotency_key="a"),
                an_event("b-1", idempotency_key="b"),
                an_event("b-2", idempotency_key="b"),
                an_event("plain"),
            ]
        )

        assert count == 3
        assert ids(await storage.read_events()) == ["known", "b-1", "plain"]

    async def test_appended_events_are_stored_once(self, storage: Storage) -> None:
        def events() -> list[EventModel]:
            return [an_event(f"event-{n}", idempotency_key=f"key-{n}") for n in range(3)]

        last = await storage.append_events(events(), expected_sequence=0)
        # A caller that lost the answer retries, and gets the same record.
        again = await storage.append_events(events(), expected_sequence=0)

        assert again == last
        assert len(await storage.read_events()) == 3

    async def test_a_batch_that_is_refused_stores_no_key(self, storage: Storage) -> None:
        await storage.store_task(a_task("known"))

        with pytest.raises(ConflictError):
            await storage.store_tasks([a_task("new", idempotency_key="key"), a_task("known")])

        new = a_task("newer", idempotency_key="key")
        assert await storage.store_task(new) is new

    @pytest.mark.parametrize("kind", MAKERS)
    async def test_a_key_is_free_again_after_a_rollback(self, storage: Storage, kind: str) -> None:
        transaction = await storage.begin_transaction()
        first = await store(storage, MAKERS[kind]("first", idempotency_key="key"))
        within = await store(storage, MAKERS[kind]("second", idempotency_key="key"))
        assert within == first
        await transaction.rollback()

        third = MAKERS[kind]("third", idempotency_key="key")
        assert await store(storage, third) is third
        assert await all_of(storage, kind) == [third]

    @pytest.mark.parametrize("kind", MAKERS)
    async def test_a_key_is_free_again_once_its_record_is_deleted(self, storage: Storage, kind: str) -> None:
        record = await store(storage, MAKERS[kind]("first", idempotency_key="key"))
        await storage.repository(type(record)).delete("first")

        second = MAKERS[kind]("second", idempotency_key="key")
        assert await store(storage, second) is second

    async def test_the_stored_task_is_given_as_it_is_now(self, storage: Storage) -> None:
        task = await a_claimed_task(storage, idempotency_key="key")
        await storage.complete_task(task, "done")

        found = await storage.store_task(a_task("again", idempotency_key="key"))

        assert found == task
        assert (found.status, found.result) == (TaskStatus.COMPLETED, "done")

    async def test_what_the_second_one_depends_on_does_not_count(self, storage: Storage) -> None:
        await storage.store_tasks([a_task("first", idempotency_key="key"), a_task("behind", dependencies=["second"])])

        await storage.store_task(a_task("second", idempotency_key="key", dependencies=["never"]))
        await storage.store_task(a_task("third", idempotency_key="key", status=TaskStatus.COMPLETED))

        assert ids(await storage.get_ready_tasks()) == ["first"]
        assert ids(await storage.get_blocked_tasks()) == ["behind"]

    async def test_an_update_to_the_key_of_another_task_is_refused(self, storage: Storage) -> None:
        await storage.store_many([a_task("first", idempotency_key="key"), a_task("second")])
        second = await stored(storage, "second")
        second.idempotency_key = "key"

        for call in (
            storage.update_task(second),
            storage.update_task(second, force=True),
            storage.repository(TaskModel).save(second),
            storage.repository(TaskModel).save(a_task("third", idempotency_key="key")),
        ):
            with pytest.raises(ConflictError):
                await call

        assert ids(await storage.get_pending_tasks()) == ["first", "second"]
        assert await stored(storage, "second") == a_task("second", version=1)

    async def test_an_update_may_keep_or_change_its_own_key(self, storage: Storage) -> None:
        task = await storage.store_task(a_task(idempotency_key="old"))
        await storage.update_task(task)
        task.idempotency_key = "new"

        await storage.update_task(task)

        free = a_task("free", idempotency_key="old")
        assert await storage.store_task(free) is free
        assert await storage.store_task(a_task("taken", idempotency_key="new")) == task

    @pytest.mark.parametrize("fields", [{"task_type": "other"}, {"payload": {"n": 2}}, {"payload": None}])
    async def test_a_key_of_a_task_of_another_type_or_payload_is_refused(
        self, storage: Storage, fields: dict[str, Any]
    ) -> None:
        first = await storage.store_task(a_task("first", payload={"n": 1}, idempotency_key="key"))
        other = a_task("second", **{"payload": {"n": 1}, "idempotency_key": "key", **fields})
        known = msgspec.structs.replace(other)

        with pytest.raises(ConflictError, match=f"'second'.*'first'.*{next(iter(fields))}"):
            await storage.store_task(other)
        for batch in ([a_task("new"), other], [other, a_task("new", dependencies=["first"])]):
            with pytest.raises(ConflictError, match=r"'second'.*'first'"):
                await storage.store_tasks(batch)
            assert [task.version for task in batch] == [0, 0]
        pair = [a_task("a", payload=1, idempotency_key="own"), a_task("b", payload=2, idempotency_key="own")]
        with pytest.raises(ConflictError, match=r"'b'.*'a'"):
            await storage.store_many([an_event(), *pair])

        assert other == known
        assert await all_of(storage, "task") == [first]
        assert await all_of(storage, "event") == []

    @pytest.mark.parametrize("ending", ["complete", "cancel", "fail", "update"])
    async def test_a_key_that_is_held_while_active_is_free_once_the_task_has_ended(
        self, storage: Storage, ending: str
    ) -> None:
        fields: dict[str, Any] = {"idempotency_key": "key", "key_policy": KeyPolicy.WHILE_ACTIVE}
        task = await a_claimed_task(storage, **fields)
        assert (await storage.store_task(a_task("early", **fields))).id == task.id
        match ending:
            case "complete":
                await storage.complete_task(task, "done")
            case "cancel":
                await storage.cancel_task(task.id)
            case "fail":
                await storage.fail_task(task, "no disk", max_retries=0)
            case _:
                task.complete("done")
                await storage.update_task(task)
        assert (await stored(storage, task.id)).idempotency_key == "key"

        second = a_task("second", payload="other", **fields)
        assert await storage.store_task(second) is second

        assert (await stored(storage, task.id)).idempotency_key is None
        assert (await storage.store_task(a_task("third", payload="other", **fields))).id == "second"

    async def test_a_task_that_is_refused_takes_no_key(self, storage: Storage) -> None:
        fields: dict[str, Any] = {"idempotency_key": "key", "key_policy": "while_active", "status": TaskStatus.FAILED}
        await storage.store_task(a_task("ended", **fields))

        with pytest.raises(ConflictError, match="'ended' exists already"):
            await storage.store_task(a_task("ended", **fields))

        ended = await stored(storage, "ended")
        assert (ended.idempotency_key, ended.version) == ("key", 1)

    async def test_the_policy_of_the_stored_task_decides(self, storage: Storage) -> None:
        for number, (policy, is_free) in enumerate([("for_ever", False), ("while_active", True)]):
            task = a_task(f"ended-{number}", idempotency_key=policy, key_policy=policy, status=TaskStatus.FAILED)
            await storage.store_task(task)
            others = [
                a_task(f"{number}-{other.value}", idempotency_key=policy, key_policy=other) for other in KeyPolicy
            ]

            found = await storage.store_tasks([a_task(f"plain-{number}"), *others, a_task(f"last-{number}")])

            holder = others[0].id if is_free else task.id
            assert ids(found) == [f"plain-{number}", holder, holder, f"last-{number}"]

    async def test_an_ended_task_whose_key_another_of_the_same_call_takes_is_told_of_it(self, storage: Storage) -> None:
        ended = a_task("ended", idempotency_key="key", key_policy="while_active", status=TaskStatus.COMPLETED)

        assert await storage.store_tasks([ended, a_task("next", idempotency_key="key")]) == [
            await stored(storage, "ended"),
            await stored(storage, "next"),
        ]
        assert ended.idempotency_key is None

    async def test_a_task_that_begins_anew_keeps_its_key_unless_another_has_it(self, storage: Storage) -> None:
        fields: dict[str, Any] = {"idempotency_key": "key", "key_policy": "while_active"}
        await storage.store_task(a_task("first", status=TaskStatus.FAILED, **fields))
        await storage.retry_task("first")
        assert (await storage.store_task(a_task("second", **fields))).id == "first"
        await storage.cancel_task("first")
        await storage.store_task(a_task("second", **fields))

        await storage.retry_task("first")

        assert {task.id: task.idempotency_key for task in await storage.get_ready_tasks()} == {
            "first": None,
            "second": "key",
        }

    @pytest.mark.parametrize("kind", MAKERS)
    @pytest.mark.parametrize("key", [7, b"key", "a\0b", "\ud800", ["key"]])
    async def test_a_key_that_is_no_text_is_refused(self, storage: Storage, kind: str, key: Any) -> None:
        with pytest.raises(SerializationError, match="idempotency_key"):
            await store(storage, MAKERS[kind](idempotency_key=key))

        assert await all_of(storage, kind) == []

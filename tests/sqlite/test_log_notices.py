"""Facts about the notices of writes to the log: what they wake, and when they end."""

import threading
from pathlib import Path
from queue import SimpleQueue

import pytest

from polling import until
from swarm_persistence import SqliteStorage, TaskModel
from swarm_persistence.backoff import Backoff
from swarm_persistence.engines.sql.sqlite import foreign_commits, inotify, log_notices
from swarm_persistence.engines.sql.sqlite.foreign_commits import ForeignCommits
from swarm_persistence.engines.sql.sqlite.log_notices import LogNotices, PollFinding, pause_after
from swarm_persistence.engines.watches import Watches
from swarm_persistence_conformance.records import a_task
from swarm_persistence_conformance.waiting import LIMIT_SECONDS


def threads() -> list[threading.Thread]:
    """Return the threads that read notices."""
    return [thread for thread in threading.enumerate() if thread.name == "swarm-persistence log notices"]


class TestStorages:
    async def test_a_commit_of_another_storage_is_noticed_before_the_next_regular_poll(
        self, storage: SqliteStorage, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(foreign_commits, "_RARE_POLL_SECONDS", 1_000.0)
        async with await SqliteStorage.open(path) as other:
            watch = storage.watch_commits(TaskModel)
            assert await watch.wait(LIMIT_SECONDS)  # the first poll wakes it anyway
            for number in range(5):
                await other.store_task(a_task(f"task-{number}"))

                assert await watch.wait(LIMIT_SECONDS)
            watch.close()

    async def test_rare_polls_see_a_commit_that_no_notice_tells_of(
        self, storage: SqliteStorage, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(LogNotices, "_poll_until_found", lambda *_: None)
        async with await SqliteStorage.open(path) as other:
            watch = storage.watch_commits(TaskModel)
            assert await watch.wait(LIMIT_SECONDS)  # the first poll wakes it anyway

            await other.store_task(a_task())

            assert await watch.wait(LIMIT_SECONDS)
            assert storage._engine._writer._foreign_commits._notices.is_active
            # An idle worker wakes up for nothing else: at 25 polls a second, they were nine tenths of what it cost.
            assert storage._engine._writer._foreign_commits.poll_seconds >= 0.2
            watch.close()

    async def test_a_write_after_the_last_watch_ends_the_thread_and_the_next_watch_begins_another_one(
        self, storage: SqliteStorage
    ) -> None:
        storage.watch_commits(TaskModel).close()
        await storage.store_task(a_task())
        await until(lambda: not threads())

        watch = storage.watch_commits(TaskModel)
        assert len(threads()) == 1
        watch.close()

    async def test_the_thread_ends_with_its_storage(self, path: Path) -> None:
        async with await SqliteStorage.open(path) as storage:
            storage.watch_commits(TaskModel)
            assert len(threads()) == 1
        await until(lambda: not threads())


class TestPolls:
    async def test_a_poll_tells_an_own_write_from_a_commit_of_another_storage_and_from_none(
        self, storage: SqliteStorage, path: Path
    ) -> None:
        polls = ForeignCommits(f"{path}-wal", Watches(), lambda _: None)
        connection = storage._engine._writer.commits
        async with await SqliteStorage.open(path) as other:
            polls.poll(connection)
            assert polls.poll(connection) is PollFinding.NOTHING

            await storage.store_task(a_task("own"))
            assert [polls.poll(connection) for _ in range(2)] == [PollFinding.OWN_WRITE, PollFinding.NOTHING]

            await other.store_task(a_task("foreign"))
            assert [polls.poll(connection) for _ in range(2)] == [PollFinding.FOREIGN_COMMIT, PollFinding.NOTHING]


class Log:
    """A file, and the polls that its notices ask for."""

    def __init__(self, path: Path, *findings: PollFinding) -> None:
        self.path = path
        self.polls: SimpleQueue[PollFinding] = SimpleQueue()
        self._findings = [*findings]
        path.write_bytes(b"")
        self.notices = LogNotices(str(path), self._poll, lambda: True)
        self.notices.start()

    def write(self) -> None:
        """Write as a commit does."""
        with self.path.open("ab") as file:
            file.write(b"frame")

    def _poll(self) -> PollFinding:
        finding = self._findings.pop(0)
        self.polls.put(finding)
        return finding


class TestNotices:
    def test_a_write_is_polled_for_until_a_commit_shows(self, tmp_path: Path) -> None:
        log = Log(tmp_path / "log", PollFinding.NOTHING, PollFinding.NOTHING, PollFinding.FOREIGN_COMMIT)

        log.write()

        expected = [PollFinding.NOTHING, PollFinding.NOTHING, PollFinding.FOREIGN_COMMIT]
        assert [log.polls.get(timeout=LIMIT_SECONDS) for _ in expected] == expected
        log.notices.close()

    def test_a_write_while_no_commit_shows_is_polled_for_at_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(log_notices, "Backoff", lambda *_: Backoff(1_000.0, 1_000.0))
        log = Log(tmp_path / "log", PollFinding.NOTHING, PollFinding.FOREIGN_COMMIT)
        log.write()
        assert log.polls.get(timeout=LIMIT_SECONDS) is PollFinding.NOTHING  # the rest of an own write

        log.write()

        assert log.polls.get(timeout=LIMIT_SECONDS) is PollFinding.FOREIGN_COMMIT
        log.notices.close()

    def test_pauses_grow_while_one_follows_the_other_and_a_rest_ends_that(self) -> None:
        pauses = [0.001]
        for _ in range(8):
            pauses.append(pause_after(pauses[-1], 0.0005))

        assert pauses == [0.001, 0.002, 0.004, 0.008, 0.016, 0.02, 0.02, 0.02, 0.02]
        # A task, its claim and its completion are three in a row; the next task of a quiet swarm is noticed at once.
        assert pause_after(pauses[-1], 0.015) == 0.001

    async def test_the_end_of_the_log_ends_the_notices(self, tmp_path: Path) -> None:
        log = Log(tmp_path / "log")
        assert log.notices.is_active

        log.path.unlink()

        await until(lambda: not log.notices.is_active)

    async def test_once_closed_there_are_none(self, tmp_path: Path) -> None:
        log = Log(tmp_path / "log")
        log.notices.close()
        await until(lambda: not log.notices.is_active)

        log.notices.start()

        assert not log.notices.is_active

    @pytest.mark.parametrize("lacks", ["the log", "the system call"])
    def test_where_they_are_not_possible_there_are_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacks: str
    ) -> None:
        if lacks == "the system call":
            (tmp_path / "log").write_bytes(b"")
            monkeypatch.setattr(inotify, "_library", None)
        notices = LogNotices(str(tmp_path / "log"), lambda: PollFinding.NOTHING, lambda: True)

        notices.start()

        assert not notices.is_active

"""Facts about the targets of an import of the Rust crate's file, and about the command that imports it."""

import json
from pathlib import Path

import pytest

from cli.commands import run_command
from swarm_persistence import ConflictError, DatabaseError, OtherError, SqliteStorage
from swarm_persistence.transfer.rust_import import import_rust
from swarm_persistence_conformance.records import a_task, ids
from transfer.rust_files import RustFile, state_of


class TestTarget:
    async def test_a_target_with_records_is_refused_unless_it_is_to_be_added_to(
        self, file: RustFile, tmp_path: Path
    ) -> None:
        file.add_task("theirs")
        source, target = file.close(), tmp_path / "new.db"
        async with await SqliteStorage.open(target) as storage:
            await storage.store_task(a_task("ours"))

        with pytest.raises(OtherError, match="holds records, and was left as it is"):
            await import_rust(source, target)
        async with await SqliteStorage.open(target) as storage:
            assert ids(await storage.get_pending_tasks()) == ["ours"]

        await import_rust(source, target, add=True)
        async with await SqliteStorage.open(target) as storage:
            assert sorted(ids(await storage.get_pending_tasks())) == ["ours", "theirs"]

    async def test_a_conflict_with_a_record_of_the_target_imports_nothing(self, file: RustFile, tmp_path: Path) -> None:
        file.add_agent()
        file.add_task("same")
        source, target = file.close(), tmp_path / "new.db"
        async with await SqliteStorage.open(target) as storage:
            await storage.store_task(a_task("same"))

        with pytest.raises(ConflictError, match="task 'same'"):
            await import_rust(source, target, add=True)

        async with await SqliteStorage.open(target) as storage:
            assert await storage.list_agents() == []

    async def test_an_import_that_fails_leaves_no_file(self, file: RustFile, tmp_path: Path) -> None:
        for number in range(2_000):
            file.add_event(str(number), payload="x" * 3_000)
        file.close()
        size = file.path.stat().st_size
        with file.path.open("r+b") as pages:
            pages.seek(size // 2)
            pages.write(b"\xff" * 100_000)
        (tmp_path / "new").mkdir()

        with pytest.raises(DatabaseError, match="is damaged"):
            await import_rust(file.path, tmp_path / "new" / "new.db")

        assert [*(tmp_path / "new").iterdir()] == []

    async def test_what_is_no_file_of_the_crate_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "text").write_text("no database at all, but long enough to be looked at" * 20)
        async with await SqliteStorage.open(tmp_path / "ours.db"):
            pass

        for name, reason in {
            "text": "is not an SQLite database", "ours.db": "is not a database of the Rust crate", "missing": "no file"
        }.items():  # fmt: skip
            with pytest.raises(DatabaseError, match=reason):
                await import_rust(tmp_path / name, tmp_path / "new.db")
        assert not (tmp_path / "new.db").exists()

    async def test_a_database_in_memory_has_no_name(self, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(old.parent)

        for name in (":memory:", "sqlite:///:memory:", Path(":memory:")):
            with pytest.raises(OtherError, match="open a MemoryStorage"):
                await import_rust(old, name)

    async def test_the_source_is_no_target(self, old: Path) -> None:
        before = state_of(old.parent)

        with pytest.raises(DatabaseError, match="is a database of the Rust crate"):
            await import_rust(old, old)

        assert state_of(old.parent) == before


class TestCommand:
    def test_it_shows_what_was_imported_and_mapped(self, old: Path, tmp_path: Path) -> None:
        done = run_command("import-rust", old, tmp_path / "new.db")

        assert (done.returncode, done.stderr) == (0, "")
        assert "mapped: 20 tasks had a status in the quotes of JSON" in done.stdout
        assert "check: OK" in done.stdout

    def test_rows_that_were_skipped_are_listed_and_end_it_with_1(self, file: RustFile, tmp_path: Path) -> None:
        file.add_task("bad", priority="huge")
        file.add_task("good")

        done = run_command("import-rust", file.close(), tmp_path / "new.db")

        assert (done.returncode, done.stderr) == (1, "")
        assert "skipped: tasks 'bad' (row 1): task.priority is 'huge', expected a TaskPriority" in done.stdout
        assert "check: INCOMPLETE – 1 rows" in done.stdout

    def test_as_json_it_tells_the_same(self, file: RustFile, tmp_path: Path) -> None:
        file.add_task("bad", priority="huge")

        done = run_command("import-rust", "--json", file.close(), tmp_path / "new.db")

        report = json.loads(done.stdout)
        assert (done.returncode, report["complete"]) == (1, False)
        assert report["skipped"][0] | {"reason": ""} == {"table": "tasks", "row": 1, "id": "bad", "reason": ""}

    def test_the_advice_for_a_file_of_the_crate_can_be_followed(self, old: Path, tmp_path: Path) -> None:
        refused = run_command("stats", old)

        assert refused.returncode == 1
        assert f"`swarm-persistence import-rust {old} NEW`" in refused.stderr

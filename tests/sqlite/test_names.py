"""Facts about names that no file of SQLite's can have: each is refused by name, and nothing is made."""

# ruff: noqa: ASYNC240 - the directory is small, and a test may wait for it

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swarm_persistence import (
    DatabaseError,
    OtherError,
    PostgresStorage,
    SqliteStorage,
    StorageError,
    init_storage,
    open_storage,
)
from swarm_persistence.cli.main import main

LONGEST_NAME = 255

NAMES: dict[str, tuple[str, str]] = {
    "NUL": ("a\0b.db", "contains NUL"),
    "a lone surrogate": ("\ud800.db", "is not UTF-8"),
    "bytes that are not UTF-8": (os.fsdecode(b"\xff\xfe.db"), "is not UTF-8"),
    "a name that is too long": ("x" * 300, "File name too long"),
    "a name whose journal's is too long": ("x" * (LONGEST_NAME - 3), "File name too long"),
    "a path that is too long": ("./" + "folder/" * 100 + "x.db", "SQLite takes 504 at most"),
}


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("name", "reason"), NAMES.values(), ids=NAMES)
async def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    for open_it in (SqliteStorage.open, SqliteStorage.builder().build, init_storage):
        with pytest.raises(DatabaseError, match=reason):
            await open_it(name)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "reason"), NAMES.values(), ids=NAMES)
def test_the_blocking_form_and_the_tools_refuse_it_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    with pytest.raises(DatabaseError, match=reason):
        open_storage(name)
    for command in (["stats", name], ["doctor", name], ["copy", name, "x.jsonl"], ["copy", name, "y.db"]):
        assert main(command) in (1, 2)
        (line,) = capsys.readouterr().err.splitlines()
        assert reason in line or "there is no database at" in line

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [None, 7, b"swarm.db", ["swarm.db"], "", Path], ids=repr)
async def test_what_is_no_path_is_refused(value: Any) -> None:
    with pytest.raises(DatabaseError, match="expected a str, or a path of str"):
        await SqliteStorage.open(value)


async def test_a_database_in_memory_is_refused_and_no_file_of_its_name_created(tmp_path: Path) -> None:
    for name in (":memory:", Path(":memory:")):
        for open_it in (SqliteStorage.open, SqliteStorage.builder().build):
            with pytest.raises(DatabaseError, match=r"use MemoryStorage\(\)"):
                await open_it(name)
    assert list(tmp_path.iterdir()) == []

    async with await SqliteStorage.open("./:memory:") as storage:
        assert storage.path == str(tmp_path / ":memory:")


@pytest.mark.parametrize("value", [7, b"swarm.db", ["swarm.db"], os.PathLike], ids=repr)
async def test_what_is_no_target_is_refused(value: Any) -> None:
    with pytest.raises(OtherError, match="expected a file's path, sqlite:///path"):
        await init_storage(value)


@pytest.mark.parametrize("open_it", [SqliteStorage.open, init_storage, PostgresStorage.open])
async def test_what_is_nested_too_deep_to_be_shown_is_refused(open_it: Callable[[Any], Any]) -> None:
    value: Any = []
    for _ in range(5000):
        value = [value]

    with pytest.raises(StorageError, match="expected"):
        await open_it(value)


@pytest.mark.parametrize(
    "value", [None, 7, b"postgresql://me:s3cret@host/swarm", ["postgresql://host/swarm"]], ids=repr
)
async def test_what_is_no_url_of_a_server_is_refused(value: Any) -> None:
    with pytest.raises(OtherError, match=r"expected postgresql://") as caught:
        await PostgresStorage.open(value)

    assert "s3cret" not in str(caught.value)


class _PathOfBytes:
    def __fspath__(self) -> bytes:
        return b"swarm.db"


@pytest.mark.parametrize("open_it", [SqliteStorage.open, init_storage])
async def test_a_path_of_bytes_is_refused(open_it: Callable[[Any], Any]) -> None:
    with pytest.raises(StorageError, match=r"b'swarm\.db', expected"):
        await open_it(_PathOfBytes())


@pytest.mark.parametrize("url", ["sqlite:///%ff.db", "indexeddb://%ff"])
async def test_a_url_of_bytes_that_are_no_utf_8_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(OtherError, match="is not a UTF-8 URL"):
        await init_storage(url)

    assert list(tmp_path.iterdir()) == []


async def test_a_link_to_a_name_that_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    os.symlink(b"\xff.db", b"link.db")

    with pytest.raises(DatabaseError, match="is not UTF-8"):
        await SqliteStorage.open("link.db")

    assert [path.name for path in tmp_path.iterdir()] == ["link.db"]


async def test_the_longest_name_that_fits_opens(tmp_path: Path) -> None:
    name = "x" * (LONGEST_NAME - len("-journal"))

    async with await SqliteStorage.open(name) as storage:
        assert storage.path == str(tmp_path / name)


@pytest.mark.parametrize("command", ["stats", "doctor", "checksums", "recover", "copy", "backup"])
def test_a_link_to_itself_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    more = [str(tmp_path / "new.db")] if command in ("recover", "copy", "backup") else []

    assert main([command, str(loop), *more]) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert "Too many levels of symbolic links" in line
    assert os.listdir(tmp_path) == ["loop"]

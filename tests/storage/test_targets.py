"""Facts about what names a storage: what names none is refused, and no file is made for it."""

from pathlib import Path

import pytest

from swarm_persistence import OtherError, SqliteStorage, init_storage


def names_in(folder: Path) -> list[str]:
    """Return the names of what is in a folder."""
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("", "the target is empty"),
        ("mysql://me:s3cret@host/swarm", "mysql://… names no storage"),
        ("sqlite://swarm.db", "is not an SQLite URL"),
        ("sqlite:///swarm.db?mode=ro", "is not an SQLite URL"),
        ("sqlite:/swarm.db", "sqlite:… lacks the // of a URL"),
        ("postgresql:/me:s3cret@host/swarm", "postgresql:… lacks the // of a URL"),
        ("postgres:me:s3cret@host/swarm", "postgres:… lacks the // of a URL"),
    ],
)
async def test_what_names_no_storage_is_refused(
    target: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(OtherError, match=reason) as caught:
        await init_storage(target)

    assert "expected" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert names_in(tmp_path) == []


async def test_a_file_may_have_a_name_with_a_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    async with await init_storage("./sqlite:notes") as storage:
        assert isinstance(storage, SqliteStorage)

    assert names_in(tmp_path) == ["sqlite:notes"]

"""`swarm-persistence limits`: an operator limits how many tasks of a type run."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarm_persistence import BlockingStorage, TaskModel, open_storage
from swarm_persistence.cli.main import main


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "swarm.db"


@pytest.fixture
def storage(path: Path) -> Iterator[BlockingStorage]:
    """Return a storage with two tasks, which stays open beside the commands."""
    with open_storage(path) as opened:
        opened.store_tasks([TaskModel(id=f"page-{number}", task_type="crawl") for number in (1, 2)])
        yield opened


def test_a_limit_that_is_set_holds_for_the_next_claim_until_it_is_deleted(
    path: Path, storage: BlockingStorage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["limits", "set", str(path), "crawl", "--running", "1"]) == 0
    assert capsys.readouterr().out == "crawl: running 1\n"
    assert [storage.claim_next_task("a", lease=60) is None for _ in range(2)] == [False, True]

    assert main(["limits", "delete", str(path), "crawl"]) == 0
    assert capsys.readouterr().out == "crawl: deleted\n"
    assert storage.claim_next_task("a", lease=60) is not None


@pytest.mark.usefixtures("storage")
def test_limits_are_listed_with_every_part(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["limits", "list", str(path)]) == 0
    assert capsys.readouterr().out == "no limits\n"
    options = ("--running", "5", "--per-key", "2", "--starts", "100", "--per", "90")
    assert main(["limits", "set", str(path), "crawl", *options, "--json"]) == 0
    limit = json.loads(capsys.readouterr().out)
    assert limit == {"id": "crawl", "running": 5, "per_key": 2, "starts": 100, "per_seconds": 90.0}

    assert main(["limits", "list", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == limit
    assert main(["limits", "list", str(path)]) == 0
    assert any(
        line.split() == ["crawl", "5", "2", "100", "in", "90", "s"] for line in capsys.readouterr().out.splitlines()
    )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), "nothing is limited"),
        (("--starts", "3"), "starts and per belong together"),
        (("--running", "-1"), "running is -1"),
        (("--starts", "3", "--per", "nan"), "per is nan"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(
    path: Path, storage: BlockingStorage, options: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["limits", "set", str(path), "crawl", *options]) == 1
    assert reason in capsys.readouterr().err
    assert storage.list_limits() == []


@pytest.mark.usefixtures("storage")
def test_deleting_a_limit_that_is_not_there_is_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["limits", "delete", str(path), "none"]) == 1
    assert "tasks of type 'none' have no limit" in capsys.readouterr().err

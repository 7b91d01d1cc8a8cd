"""`swarm-persistence schedules`: the next times of schedules, and an operator's changes."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from swarm_persistence import BlockingStorage, ScheduleModel, open_storage
from swarm_persistence.cli.main import main


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "swarm.db"


@pytest.fixture
def storage(path: Path) -> Iterator[BlockingStorage]:
    """Return a storage with two schedules, which stays open beside the commands."""
    with open_storage(path) as opened:
        opened.store_schedule(ScheduleModel.new("nightly", "report", cron="30 2 * * *", timezone="Europe/Berlin"))
        opened.store_schedule(ScheduleModel.new("often", "sync", every=90, paused=True))
        yield opened


@pytest.mark.usefixtures("storage")
def test_schedules_are_listed_with_their_times(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schedules", "list", str(path)]) == 0

    shown = capsys.readouterr().out
    for text in ("nightly", "report", "often", "every 90 s", "paused"):
        assert text in shown


@pytest.mark.usefixtures("storage")
def test_the_next_times_are_shown_by_the_clocks_of_the_zone(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schedules", "show", str(path), "nightly", "--times", "3"]) == 0

    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("next: ")]
    assert len(lines) == 3
    assert all(" 02:30:00+0" in line or " 03:00:00+02:00" in line for line in lines)


def test_a_schedule_is_paused_resumed_and_deleted(
    path: Path, storage: BlockingStorage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schedules", "pause", str(path), "nightly"]) == 0
    assert capsys.readouterr().out == "nightly: paused\n"
    assert main(["schedules", "resume", str(path), "often", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["paused"] is False
    assert main(["schedules", "delete", str(path), "nightly"]) == 0

    assert [(schedule.name, schedule.paused) for schedule in storage.list_schedules()] == [("often", False)]


@pytest.mark.usefixtures("storage")
@pytest.mark.parametrize("action", ["show", "pause", "resume", "delete"])
def test_an_unknown_schedule_is_told(path: Path, action: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schedules", action, str(path), "none"]) == 1

    assert "schedule 'none'" in capsys.readouterr().err


def test_a_schedule_is_stored_with_all_that_is_given_and_replaced(
    path: Path, storage: BlockingStorage, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["schedules", "set", str(path), "hourly", "sum"]
    options = ["--cron", "0 * * * *", "--timezone", "Europe/Berlin", "--starts-at", "2026-12-01T00:00:00Z"]
    fields = ["--group", "x", "--tag", "run=7", "--concurrency-key", "k", "--requires", "gpu"]
    others = ["--priority", "high", "--max-retries", "1", "--catch-up", "all", "--paused", "--json"]

    assert main([*command, '{"a": 1}', *options, *fields, *others]) == 0

    stored = storage.get_schedule("hourly")
    assert stored is not None
    assert ScheduleModel.from_json(capsys.readouterr().out) == stored
    assert (stored.task_type, stored.payload) == ("sum", {"a": 1})
    assert (stored.cron, stored.timezone) == ("0 * * * *", "Europe/Berlin")
    assert stored.starts_at == datetime(2026, 12, 1, tzinfo=UTC)
    assert (stored.priority.value, stored.max_retries, stored.catch_up.value, stored.paused) == ("high", 1, "all", True)
    assert stored.task_fields == {
        "group": "x",
        "tags": {"run": "7"},
        "concurrency_key": "k",
        "required_capabilities": ["gpu"],
    }

    assert main([*command, "--every", "90"]) == 0
    replaced = storage.get_schedule("hourly")
    assert replaced is not None
    assert capsys.readouterr().out == "hourly: paused\n"
    assert (replaced.every, replaced.cron, replaced.task_fields, replaced.paused) == (90.0, None, {}, True)


def test_the_next_time_of_a_stored_schedule_is_printed(
    path: Path, storage: BlockingStorage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schedules", "set", str(path), "new", "sum", "--every", "60"]) == 0

    stored = storage.get_schedule("new")
    assert stored is not None
    assert stored.next_at is not None
    assert capsys.readouterr().out == f"new: next at {stored.next_at.isoformat(sep=' ', timespec='seconds')}\n"


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        ((), 2, "one of the arguments --cron --every is required"),
        (("--cron", "0 * * * *", "--every", "9"), 2, "not allowed with argument"),
        (("--cron", "sometimes"), 1, "schedule.cron is 'sometimes'"),
        (("--every", "0.1"), 1, "schedule.every is 0.1"),
        (("--every", "9", "--timezone", "Mars/Base"), 1, "'Mars/Base'"),
        (("--every", "9", "--starts-at", "soon"), 1, "starts_at is 'soon'"),
    ],
)
def test_a_schedule_that_gives_no_times_is_refused(  # noqa: PLR0917
    path: Path,
    storage: BlockingStorage,
    options: tuple[str, ...],
    code: int,
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["schedules", "set", str(path), "new", "sum", *options]
    if code == 2:
        with pytest.raises(SystemExit, match=r"^2$"):
            main(arguments)
    else:
        assert main(arguments) == code

    assert reason in capsys.readouterr().err
    assert storage.get_schedule("new") is None

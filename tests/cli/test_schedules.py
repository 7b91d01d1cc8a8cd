"""`swarm-persistence schedules`: the next times of schedules, and an operator's changes."""

import json
from collections.abc import Iterator
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

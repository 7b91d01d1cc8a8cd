"""Facts about due schedules whose times a process cannot compute: they are logged, and hinder no other one."""

import sys

import pytest

from swarm_persistence import ScheduleModel, Storage
from swarm_persistence.testing import ManualClock, use_clock


async def test_without_the_cron_extra_a_due_cron_schedule_is_logged_once_and_the_others_store_their_tasks(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with use_clock(ManualClock()) as clock:
        await storage.store_schedule(ScheduleModel.new("a cron", "by cron", cron="0 * * * *"))
        await storage.store_schedule(ScheduleModel.new("periods", "by periods", every=60))
        monkeypatch.setitem(sys.modules, "cronsim", None)

        clock.advance(3600)
        assert {task.task_type for task in await storage.fire_due_schedules()} == {"by periods"}
        clock.advance(3600)
        assert {task.task_type for task in await storage.fire_due_schedules()} == {"by periods"}
        assert [text for text in caplog.messages if "stores no tasks here" in text] == [
            "schedule 'a cron' stores no tasks here: Other error: a cron expression needs cronsim: "
            'pip install "swarm-persistence[schedules]"'
        ]

        monkeypatch.undo()
        await storage.pause_schedule("a cron")  # once it is changed, it is tried again
        await storage.resume_schedule("a cron")
        clock.advance(3600)
        assert {task.task_type for task in await storage.fire_due_schedules()} == {"by cron", "by periods"}

"""The present time in its two forms."""

from datetime import UTC, datetime

from swarm_persistence.clock import ManualClock, microseconds, now, now_in_microseconds, use_clock


def test_the_time_in_microseconds_is_that_of_the_clock_in_use() -> None:
    with use_clock(ManualClock(datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))) as clock:
        assert now_in_microseconds() == microseconds(clock.now())
        clock.advance(-10.5)
        assert now_in_microseconds() == microseconds(clock.now())


def test_both_forms_of_the_system_clock_tell_the_same_time() -> None:
    before = microseconds(now())
    between = now_in_microseconds()
    assert before <= between <= microseconds(now())

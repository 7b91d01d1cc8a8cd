"""Facts about the delays between retries."""

import pytest

from swarm_persistence.backoff import Backoff, backoff_seconds


def test_each_delay_is_about_twice_the_one_before_and_none_is_longer_than_the_longest() -> None:
    for retry, expected in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 10.0), (100, 10.0)):
        delays = [backoff_seconds(retry, first=1.0, longest=10.0) for _ in range(200)]

        assert expected / 2 <= min(delays) < expected < max(delays) <= expected * 1.5


def test_a_count_whose_power_of_two_is_no_float_gives_the_longest_delay() -> None:
    assert 5.0 <= backoff_seconds(2**32, first=1.0, longest=10.0) <= 15.0


def test_a_success_makes_the_next_delay_the_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda least, most: (least + most) / 2)
    backoff = Backoff(first=0.5, longest=3.0)
    delays = [backoff.next() for _ in range(4)]
    backoff.reset()

    assert [*delays, backoff.next()] == [0.5, 1.0, 2.0, 3.0, 0.5]

"""What `MemoryStorage` adds to the storage that the conformance suite tests."""

from datetime import timedelta
from typing import Any

import pytest

from swarm_persistence.backends.memory import MemoryStorage
from swarm_persistence.errors import OtherError


def test_it_shows_itself() -> None:
    assert repr(MemoryStorage()) == "MemoryStorage()"


async def test_it_shows_itself_when_it_is_closed() -> None:
    storage = MemoryStorage()
    await storage.close()

    assert repr(storage) == "MemoryStorage()"


@pytest.mark.parametrize("duration", [0, -1, float("inf"), float("nan"), timedelta(0), "5", None, True])
@pytest.mark.parametrize("name", ["connection_timeout", "transaction_timeout"])
def test_a_duration_without_sense_is_refused_by_name(name: str, duration: Any) -> None:
    with pytest.raises(OtherError, match=name):
        MemoryStorage(**{name: duration})


def test_a_duration_may_be_a_timedelta() -> None:
    MemoryStorage(connection_timeout=timedelta(seconds=5), transaction_timeout=2)

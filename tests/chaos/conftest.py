"""The seed of a trial: a new one each time, printed, or the one of `$CHAOS_SEED`."""

import os
import random

import pytest


@pytest.fixture
def seed() -> int:
    """Give the seed; a failing test shows it."""
    seed = int(os.environ.get("CHAOS_SEED") or random.randrange(2**32))
    print(f"CHAOS_SEED={seed}")  # noqa: T201 - pytest shows it when the test fails
    return seed

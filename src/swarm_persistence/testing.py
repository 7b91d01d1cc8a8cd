"""Support for an application's tests: a clock that stands still until the test advances it.

`use_clock` sets it for a block. With pytest, this line in `conftest.py` provides the fixture `manual_clock`:

    pytest_plugins = ["swarm_persistence.testing"]

PYTEST_DONT_REWRITE: this module has no asserts, and a conftest may have imported it before.
"""

from collections.abc import Iterator

from swarm_persistence.clock import Clock, ManualClock, now, use_clock, wake_waiters

__all__ = ["Clock", "ManualClock", "now", "use_clock", "wake_waiters"]

try:
    import pytest
except ImportError:
    pass  # `use_clock` serves any test runner; only the fixture needs pytest.
else:
    __all__ += ["manual_clock"]

    @pytest.fixture
    def manual_clock() -> Iterator[ManualClock]:
        """Stop the clock of all storages in this process; `manual_clock.advance(60)` advances it by a minute."""
        with use_clock(ManualClock()) as clock:
            yield clock

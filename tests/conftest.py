"""Fixtures for all tests."""

import signal

from swarm_persistence.testing.fixtures import clock

__all__ = ["clock"]

# A shell that starts the tests in the background has them ignore it, and so would every program that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

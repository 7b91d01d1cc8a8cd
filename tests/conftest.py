"""Fixtures for all tests."""

from swarm_persistence.testing.fixtures import clock

__all__ = ["clock"]

"""Fixtures for all tests."""

import signal

from hypothesis import HealthCheck, settings

from swarm_persistence_conformance.fixtures import clock

__all__ = ["clock"]

# A shell that starts the tests in the background has them ignore it, and so would every program that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is.
settings.register_profile("any machine", settings(), deadline=None, suppress_health_check=(HealthCheck.too_slow,))
settings.load_profile("any machine")

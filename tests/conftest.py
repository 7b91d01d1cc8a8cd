"""Fixtures for all tests."""

import gc
import os
import signal
from collections.abc import Generator
from multiprocessing import get_context

import pytest
from hypothesis import HealthCheck, settings

from swarm_persistence_conformance.fixtures import clock

__all__ = ["clock"]

# A shell that starts the tests in the background has them ignore it, and so would every program that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is.
settings.register_profile("any machine", settings(), deadline=None, suppress_health_check=(HealthCheck.too_slow,))
settings.load_profile("any machine")

_FORKED = ["benchmarks.workloads", "swarm_persistence.backends.postgres", "swarm_persistence.backends.sqlite"]
"""What forked processes find imported: what takes long, and needs none of pytest's paths, which the server lacks."""


def pytest_collection_finish() -> None:
    """Name it once all modules are imported: a process has one server for forks, which knows what was named last."""
    get_context("forkserver").set_forkserver_preload(_FORKED)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from what is imported and collected, which stays: over a million objects.

    A full collection, as tests ask for to see what is left open, took half a second to look through them.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


@pytest.hookimpl(optionalhook=True)  # make mutate goes without xdist
def pytest_xdist_auto_num_workers() -> int:
    """Start a process more than there are processors: a test that waits for a server or a lease leaves its own idle."""
    return (os.cpu_count() or 1) + 1

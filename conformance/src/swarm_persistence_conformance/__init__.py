"""The conformance suite: what every storage of swarm-persistence must do, as tests for pytest.

To hold a storage of your own to it, write one test file with one fixture, `open_storage`. The fixture returns a
function, and each call of that an async context manager of a fresh, empty storage:

    from contextlib import asynccontextmanager
    from itertools import count

    import pytest

    from mine import MyStorage
    from swarm_persistence_conformance import *

    @pytest.fixture
    def open_storage(tmp_path):
        numbers = count()

        @asynccontextmanager
        async def open_storage():
            async with await MyStorage.open(tmp_path / f"{next(numbers)}.db") as storage:
                yield storage

        return open_storage

pytest collects the classes that this imports: one per topic, with a method per fact. `del TestThreads` after the import
leaves a class out; `FACTS` holds all of them by name. `TestAgreement` compares the storage with `MemoryStorage` step by
step and query by query; `assert_storages_agree` and `assert_queries_agree` compare any two. Where pytest cannot run, as
in a browser, `run_suite` runs the same facts in the running event loop.
"""

from swarm_persistence_conformance.classes import CORE, FACTS
from swarm_persistence_conformance.fixtures import OpenStorage, clock, storage
from swarm_persistence_conformance.random_operations import assert_storages_agree
from swarm_persistence_conformance.random_queries import assert_queries_agree
from swarm_persistence_conformance.random_task_verbs import assert_tasks_match_model
from swarm_persistence_conformance.runner import FactOutcome, run_suite

globals().update(FACTS)

__all__ = [  # noqa: PLE0604 - the keys of FACTS are strings
    "CORE",
    "FACTS",
    "OpenStorage",
    "FactOutcome",
    "assert_queries_agree",
    "assert_storages_agree",
    "assert_tasks_match_model",
    "clock",
    "run_suite",
    "storage",
    *FACTS,
]

"""Holds `PostgresStorage` to the conformance suite on the system's own PostgreSQL, which is an older one."""

from collections.abc import Iterator

import pytest

from postgres.schemas import open_storage, schemas
from postgres.servers import Server, new_server, system_programs
from swarm_persistence_conformance import *  # noqa: F403 - every fact of the suite

# What is refused never reaches a server, and random examples are left to the newer one.
del TestRefusedFields, TestRefusedArguments, TestAgreement  # noqa: F821

__all__ = ["open_storage", "schemas"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Give the older server."""
    with new_server(system_programs()) as server:
        yield server

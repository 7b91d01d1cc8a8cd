"""Holds `PostgresStorage` to the conformance suite on the system's own PostgreSQL, which is an older one."""

from collections.abc import Iterator

import pytest

from postgres.schemas import open_storage, schemas
from postgres.servers import Server, new_server, system_programs
from swarm_persistence_conformance import FACTS, clock, storage

# What is refused never reaches a server, and hostile and random values are left to the newer one.
LEFT_OUT = {
    "TestRefusedFields",
    "TestRefusedArguments",
    "TestRefusedCoordination",
    "TestHostileValues",
    "TestAgreement",
}

globals().update({name: facts for name, facts in FACTS.items() if name not in LEFT_OUT})

__all__ = ["clock", "open_storage", "schemas", "storage"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Give the older server."""
    with new_server(system_programs()) as server:
        yield server

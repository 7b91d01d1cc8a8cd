"""Holds `PostgresStorage` to the conformance suite."""

from postgres.conftest import server
from postgres.schemas import open_storage, schemas
from swarm_persistence_conformance import *  # noqa: F403 - every fact of the suite

__all__ = ["open_storage", "schemas", "server"]

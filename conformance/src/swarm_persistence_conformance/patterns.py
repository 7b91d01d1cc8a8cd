"""Facts about `LIKE`: what its patterns match."""

import pytest

from swarm_persistence import AgentModel, AgentStatus, QueryBuilder, Storage
from swarm_persistence_conformance.queries import find
from swarm_persistence_conformance.records import an_agent

WORKERS = ["worker-1", "WORKER-1", "worker_1", "worker%1", "worker\n1"]
SINGLE = ["ä", "Ä", "ß", "İ", "\U0001f600", "\\", "\u212a"]  # the last is the kelvin sign, whose lower case is k
NAMES = [*WORKERS, *SINGLE, "a\u0308", ""]
LIKE: list[tuple[str, list[str]]] = [
    ("worker-1", ["worker-1", "WORKER-1"]),
    ("worker", []),
    ("worker%", WORKERS),
    ("%-1", ["worker-1", "WORKER-1"]),
    ("%R%", WORKERS),
    ("worker_1", WORKERS),
    ("_", SINGLE),
    ("__", ["a\u0308"]),
    ("", [""]),
    ("%", NAMES),
    ("%%%", NAMES),
    ("ä", ["ä"]),
    ("Ä", ["Ä"]),
    ("ss", []),
    ("i\u0307", []),
    ("k", []),
    ("\\", ["\\"]),
    ("worker\\_1", []),
    ("worker[-]1", []),
    ("worker.1", []),
    ("WORKER\n_", ["worker\n1"]),
]


@pytest.mark.asyncio
class TestLike:
    """`%` matches any text, `_` one character, and ASCII letters match in either case; nothing else is special."""

    @pytest.mark.parametrize(("pattern", "found"), LIKE)
    async def test_a_pattern_matches_the_same_everywhere(
        self, storage: Storage, pattern: str, found: list[str]
    ) -> None:
        await storage.store_many([an_agent(f"<{name}>", name=name) for name in NAMES])

        matching = await find(storage, QueryBuilder(AgentModel).where_like("name", pattern))

        assert matching == [f"<{name}>" for name in found]

    async def test_a_status_is_matched_by_its_text(self, storage: Storage) -> None:
        await storage.store_many([an_agent(status.value, status=status) for status in AgentStatus])

        assert await find(storage, QueryBuilder(AgentModel).where_like("status", "%I%E")) == ["active", "idle"]

    async def test_a_pattern_that_backtracks_is_matched_in_time(self, storage: Storage) -> None:
        await storage.store_agent(an_agent(name="a" * 200))
        pattern = "%a" * 20 + "%b"

        assert await find(storage, QueryBuilder(AgentModel).where_like("name", pattern)) == []

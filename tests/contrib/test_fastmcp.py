"""Facts about FastMCP's values in a storage, on each engine; the package's own store in memory has them, too."""

import pytest
from key_value.aio.errors import InvalidTTLError
from key_value.aio.protocols.key_value import AsyncKeyValueProtocol
from key_value.aio.stores.memory import MemoryStore

from swarm_persistence import InvalidQueryError, Storage
from swarm_persistence.contrib.fastmcp import SwarmKeyValue


@pytest.fixture(params=["ours", "theirs"])
def store(request: pytest.FixtureRequest, storage: Storage) -> AsyncKeyValueProtocol:
    """Give our store, and the package's own."""
    return SwarmKeyValue(storage) if request.param == "ours" else MemoryStore()


async def test_a_value_is_kept_replaced_and_deleted(store: AsyncKeyValueProtocol) -> None:
    assert await store.get("a") is None
    await store.put("a", {"n": 1})
    await store.put("a", {"n": 2})
    await store.put("a", {"n": 3}, collection="other")

    assert await store.ttl("a") == ({"n": 2}, None)
    assert await store.get("a", collection="other") == {"n": 3}
    assert await store.delete("a") is True
    assert await store.delete("a") is False
    assert await store.get("a") is None


async def test_many_values_come_in_the_order_of_their_keys(store: AsyncKeyValueProtocol) -> None:
    await store.put_many(["a", "b"], [{"n": 1}, {"n": 2}], ttl=60)

    assert await store.get_many(["b", "x", "a"]) == [{"n": 2}, None, {"n": 1}]
    [(value, left), missing] = await store.ttl_many(["b", "x"])
    assert (value, missing) == ({"n": 2}, (None, None))
    assert left is not None
    assert 0 < left <= 60
    assert await store.delete_many(["a", "x", "b"]) == 2


async def test_an_empty_name_is_that_of_the_default_collection(store: AsyncKeyValueProtocol) -> None:
    await store.put("a", {"n": 1}, collection="")

    assert await store.get("a") == await store.get("a", collection="default_collection") == {"n": 1}


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), True])
async def test_a_ttl_that_is_none_is_refused(store: AsyncKeyValueProtocol, ttl: float) -> None:
    with pytest.raises((InvalidQueryError, InvalidTTLError, OverflowError, ValueError)):
        await store.put("a", {}, ttl=ttl)

    assert await store.get("a") is None


async def test_as_many_values_as_keys_are_expected(store: AsyncKeyValueProtocol) -> None:
    with pytest.raises(ValueError, match=r"keys and .*values"):
        await store.put_many(["a", "b"], [{}])

    assert await store.get("a") is None

"""LangGraph's long-term memory: items that are put, read and searched."""

from typing import Any

from langgraph.store.base import BaseStore, PutOp

from benchmarks.postgres.rounds import rate_of

NAMESPACE = ("users", "ada")
_KINDS = 50


def value_of(number: int) -> dict[str, Any]:
    """Return an item's value: one of fifty kinds, and a text."""
    return {"kind": f"kind-{number % _KINDS}", "rank": number, "text": f"{number * 7919 % 100_003:06} {'x' * 180}"}


async def fill(store: BaseStore, items: int) -> None:
    """Put the items that are read and searched."""
    for start in range(0, items, 500):
        await store.abatch(
            [PutOp(NAMESPACE, f"key-{number:06}", value_of(number)) for number in range(start, min(start + 500, items))]
        )


async def store_rate(store: BaseStore, verb: str, in_flight: int, seconds: float, items: int) -> float:
    """Return the operations a second of one verb."""
    match verb:
        case "put":
            return await rate_of(
                lambda number: store.aput(NAMESPACE, f"new-{number}", value_of(number)), in_flight, seconds
            )
        case "get":
            return await rate_of(lambda number: store.aget(NAMESPACE, f"key-{number % items:06}"), in_flight, seconds)
        case "filter":
            return await rate_of(
                lambda number: store.asearch(NAMESPACE, filter={"kind": f"kind-{number % _KINDS}"}), in_flight, seconds
            )
    return await rate_of(lambda number: store.asearch(NAMESPACE, query=value_of(number)["text"]), in_flight, seconds)

"""Storages whose SQL statements name their verb in a comment."""

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import cache, wraps
from typing import Any, TypeVar

from swarm_persistence.engines.sql.postgres.comments import VERB
from swarm_persistence.query.builder import QueryBuilder
from swarm_persistence.schema.tables import M
from swarm_persistence.storage import Repository, Storage

S = TypeVar("S", bound=Storage)

_PASS_ON = ("close", "run_transaction")
"""Verbs that run others, or no statement."""


def commenting(storage: type[S]) -> type[S]:
    """Return a subclass that passes the name of each verb to its statements.

    It costs one more coroutine per call, only for storages that ask for comments.
    """
    known: Any = storage  # mypy does not accept a class as hashable
    made: type[S] = _commenting(known)
    return made


@cache
def _commenting(storage: Any) -> Any:
    def repository(self: Storage, model: type[M]) -> Repository[M]:
        return _CommentingRepository(self, model)

    members: dict[str, Any] = {
        name: _with_verb(name, method) for name, method in _verbs(storage).items() if name not in _PASS_ON
    }
    # The blocking storage calls it directly.
    members |= {"_claim_by_id": _with_verb("claim_task", storage._claim_by_id), "repository": repository}
    members |= {name: getattr(storage, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(storage.__name__, (storage,), members)


def _verbs(owner: type[Any]) -> dict[str, Callable[..., Coroutine[Any, Any, Any]]]:
    methods = inspect.getmembers(owner, inspect.iscoroutinefunction)
    return {name: method for name, method in methods if not name.startswith("_")}


def _with_verb(verb: str, method: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
    @wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        if VERB.get() is not None:  # the outermost verb gives the name
            return await method(*args, **kwargs)
        token = VERB.set(verb)
        try:
            return await method(*args, **kwargs)
        finally:
            VERB.reset(token)

    return call


class _CommentingRepository(Repository[M]):
    """A repository that passes on the names of its verbs as well."""

    async def batches(
        self, builder: QueryBuilder[M] | None = None, *, batch_size: int = 1000
    ) -> AsyncIterator[list[M]]:
        batches = super().batches(builder, batch_size=batch_size)

        async def next_batch() -> list[M] | None:
            return await anext(batches, None)

        following = _with_verb("repository.batches", next_batch)
        while (batch := await following()) is not None:
            yield batch


for _name, _method in _verbs(Repository).items():
    setattr(_CommentingRepository, _name, _with_verb(f"repository.{_name}", _method))

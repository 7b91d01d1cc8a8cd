"""Notifies clients of changes to the resources that they follow, by any process."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from mcp import MCPError, types
from mcp.server import ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated

from swarm_persistence import ClosedError, NotFoundError, Storage, StorageError
from swarm_persistence.mcp.resources import content_of, resource_of

MOST_URIS = 1000
"""How many resources one stream, or all clients of earlier protocols together, can follow."""
_PAUSE_SECONDS = 0.1
"""The shortest time between notifications of one resource; writes in between are coalesced."""
_RETRY_SECONDS = 5.0

_Notify = Callable[[str], Awaitable[None]]

_log = logging.getLogger(__name__)


class ResourceSubscriptions:
    """The resources that clients follow.

    Clients of the protocol of 2026-07-28 follow resources by an open stream; those of earlier ones subscribe to each.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._users = 0
        self._subscribed: dict[tuple[int, str], AsyncExitStack] = {}
        """Keyed by connection and URI; the oldest first."""

    async def listen(
        self, context: ServerRequestContext[Any], params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        """Serve a stream of changes until its client closes it."""
        uris = [str(uri) for uri in params.notifications.resource_subscriptions or ()]
        if len(uris) > MOST_URIS:
            raise MCPError(types.INVALID_PARAMS, f"{len(uris)} resources in one stream, expected {MOST_URIS} at most")
        bus = InMemorySubscriptionBus()
        async with _following(self._storage, uris, lambda uri: bus.publish(ResourceUpdated(uri))):
            return await ListenHandler(bus)(context, params)

    async def subscribe(
        self, context: ServerRequestContext[Any], params: types.SubscribeRequestParams
    ) -> types.EmptyResult:
        """Notify the client of each change of a resource from now on."""
        uri, session = str(params.uri), context.session
        key = (id(session.client_params), uri)
        if key not in self._subscribed:
            following = AsyncExitStack()
            await following.enter_async_context(_following(self._storage, [uri], session.send_resource_updated))
            self._subscribed[key] = following
            if len(self._subscribed) > MOST_URIS:
                # The protocol does not report that a client has disconnected.
                await self._forget(next(iter(self._subscribed)))
        return types.EmptyResult()

    async def unsubscribe(
        self, context: ServerRequestContext[Any], params: types.UnsubscribeRequestParams
    ) -> types.EmptyResult:
        """Stop notifying the client of a resource."""
        await self._forget((id(context.session.client_params), str(params.uri)))
        return types.EmptyResult()

    @asynccontextmanager
    async def lifespan(self, _server: object) -> AsyncIterator[None]:
        """End all subscriptions once the last connection or transport has ended."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            while not self._users and self._subscribed:
                await self._forget(next(iter(self._subscribed)))

    async def _forget(self, key: tuple[int, str]) -> None:
        following = self._subscribed.pop(key, None)
        if following is not None:
            await following.aclose()


@asynccontextmanager
async def _following(storage: Storage, uris: Iterable[str], notify: _Notify) -> AsyncIterator[None]:
    """Notify of each change to these resources that is committed after the block is entered."""
    watchers: list[asyncio.Task[None]] = []
    try:
        for uri in dict.fromkeys(uris):
            # One by one, so that those that were started end if the next one is refused.
            watchers.append(await _start(storage, uri, notify))  # noqa: PERF401
        yield
    finally:
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)


async def _start(storage: Storage, uri: str, notify: _Notify) -> asyncio.Task[None]:
    """Start to watch a resource; every commit after this returns is noticed."""
    try:
        watch = storage.watch_commits(*resource_of(uri).models)
    except NotFoundError as error:
        raise MCPError(types.INVALID_PARAMS, str(error), {"uri": uri}) from error
    content = await _content(storage, uri)

    async def run() -> None:
        nonlocal content
        try:
            while True:
                await watch.wait()
                try:
                    present = await _content(storage, uri)
                except ClosedError:
                    return
                except StorageError as error:
                    _log.warning("resource %s cannot be read, to see whether it has changed: %s", uri, error)
                    await asyncio.sleep(_RETRY_SECONDS)
                    continue
                if present != content:
                    content = present
                    await notify(uri)
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            watch.close()

    return asyncio.create_task(run(), name=f"changes of {uri}")


async def _content(storage: Storage, uri: str) -> str | None:
    """Return the resource's text, `None` as long as it does not exist."""
    with suppress(NotFoundError):
        return await content_of(storage, uri)
    return None

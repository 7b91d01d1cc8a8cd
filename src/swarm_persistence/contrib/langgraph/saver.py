"""LangGraph's checkpointer over documents; needs `pip install "swarm-persistence[langgraph]"`.

A checkpoint is a document of the collection `("langgraph", thread, "checkpoints", namespace)`, its key the checkpoint's
id, its label the run's id. Pending writes are documents of `("langgraph", thread, "writes", namespace)`: `writes.py`.
"""

import os
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

from swarm_persistence import BlockingStorage, DocumentModel, Storage
from swarm_persistence.contrib.blocking_form import blocking_form, blocking_of, blocking_series
from swarm_persistence.contrib.langgraph.checkpoints import (
    DELTA_MARKS,
    ROOT,
    config_of,
    label_of,
    matches,
    metadata_of,
    place_of,
    texts_of,
    value_of,
)
from swarm_persistence.contrib.langgraph.history import (
    PAGE,
    by_collection,
    ids_before,
    keys_of_writes_after,
    pages,
    writes_after,
    writes_collection,
)

try:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import (
        WRITES_IDX_MAP,
        BaseCheckpointSaver,
        ChannelVersions,
        Checkpoint,
        CheckpointMetadata,
        CheckpointTuple,
        get_checkpoint_id,
        get_checkpoint_metadata,
    )
    from langgraph.checkpoint.serde.base import SerializerProtocol
    from langgraph.checkpoint.serde.types import _DeltaSnapshot

    from swarm_persistence.contrib.langgraph.writes import documents_of, parts_of, writes_of
except ImportError as error:
    raise ImportError('SwarmSaver needs LangGraph: pip install "swarm-persistence[langgraph]"') from error


class SwarmSaver(BaseCheckpointSaver[str]):
    """Keeps the checkpoints of LangGraph's threads in a storage: `builder.compile(checkpointer=SwarmSaver(storage))`.

    Its blocking methods may be called from any thread, as those of `BlockingStorage`. Within `async with
    storage.transaction()`, what a graph saves belongs to the transaction.
    """

    def __init__(self, storage: Storage | BlockingStorage, *, serde: SerializerProtocol | None = None) -> None:
        super().__init__(serde=serde)
        self.blocking = blocking_of(storage)
        self._storage = self.blocking.storage

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that the configuration names, or the thread's latest one."""
        thread, namespace = place_of(config)
        collection = (ROOT, thread, "checkpoints", namespace)
        if checkpoint_id := get_checkpoint_id(config):
            document = await self._storage.get_document(collection, checkpoint_id)
        else:
            latest = await self._storage.list_documents(collection, desc=True, limit=1)
            document = latest[0] if latest else None
        if document is None:
            return None
        (writes,) = (await writes_after(self._storage, [document])).values()
        return self._tuple(document, writes)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield checkpoints, the latest first; `limit` counts those that match `filter`."""
        last = get_checkpoint_id(before) if before else None
        only = get_checkpoint_id(config) if config else None
        wanted = filter or {}
        places = set()
        for collection in await self._collections(config):
            if only is None:
                ids = await ids_before(self._storage, collection, last, wanted, limit)
            else:
                ids = [only] if last is None or only < last else []
            places |= {(id, collection) for id in ids}
        async for page in pages(self._storage, sorted(places, reverse=True)[:limit]):
            # Between those that match a filter, there may be many others.
            writes = {} if wanted else await writes_after(self._storage, page)
            for document in page:
                if matches(metadata_of(document.value), wanted):
                    place = document.key, document.collection
                    yield self._tuple(document, (writes or await writes_after(self._storage, [document]))[place])

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint, and return the configuration that names it."""
        thread, namespace = place_of(config)
        kind, data = self.serde.dumps_typed(checkpoint)
        value = value_of(kind, get_checkpoint_id(config), get_checkpoint_metadata(config, metadata))
        run_id = value["metadata"].get("run_id")
        collection = (ROOT, thread, "checkpoints", namespace)
        document = DocumentModel.new(collection, checkpoint["id"], value, data, label=label_of(run_id))
        await self._storage.put_documents([document])
        return config_of(thread, namespace, checkpoint["id"])

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store a task's writes before its step's checkpoint exists; a write that is already stored stays."""
        thread, namespace = place_of(config)
        checkpoint_id = config["configurable"]["checkpoint_id"]
        collection = (ROOT, thread, "writes", namespace)
        are_special = [channel in WRITES_IDX_MAP for channel, _ in writes]
        parts = parts_of(writes, self.serde)
        documents = documents_of(collection, checkpoint_id, parts, task_id, task_path, is_split=any(are_special))
        if all(are_special):
            put = self._storage.put_documents(documents)
        else:
            put = self._storage.put_documents((), if_absent=documents)
        del parts, documents  # the put keeps what it needs while it waits
        await put

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete the thread's checkpoints and writes."""
        await self._storage.delete_documents((ROOT, str(thread_id)), below=True)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints of these runs, and the writes that follow them."""
        for label in map(label_of, texts_of(run_ids, "run_ids")):
            while found := await self._storage.list_documents((ROOT,), below=True, label=label, limit=PAGE):
                for collection, ids in by_collection((each.key, each.collection) for each in found).items():
                    keys = await keys_of_writes_after(self._storage, collection, ids)
                    await self._storage.delete_documents(writes_collection(collection), keys=keys)
                    await self._storage.delete_documents(collection, keys=ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all checkpoints and writes of a thread to another one."""
        await self._storage.copy_documents((ROOT, str(source_thread_id)), (ROOT, str(target_thread_id)), below=True)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete the checkpoints of threads: all (`delete`), or all but each namespace's latest (`keep_latest`).

        Raises:
            ValueError: the strategy is neither of these.
            NotImplementedError: a thread has a `DeltaChannel`, whose value is spread over older checkpoints; nothing
                was deleted.

        """
        threads = texts_of(thread_ids, "thread_ids")
        if strategy not in ("keep_latest", "delete"):
            raise ValueError(f"strategy is {strategy!r}, expected 'keep_latest' or 'delete'")
        if strategy == "delete":
            for thread in threads:
                await self.adelete_thread(thread)
            return
        collections = [each for thread in threads for each in await self._collections(config_of(thread))]
        for collection in collections:
            await self._refuse_delta_channels(collection)
        for collection in collections:
            for latest in await self._storage.list_document_keys(collection, desc=True, limit=1):
                await self._storage.delete_documents(collection, before=latest)
                await self._storage.delete_documents(writes_collection(collection), before=latest)

    def get_next_version(self, current: str | int | None, channel: None) -> str:
        """Return a version after this one, unique among the thread's branches, in LangGraph's format."""
        number = int(str(current or 0).partition(".")[0]) + 1
        return f"{number:032}.{int.from_bytes(os.urandom(6)):016}"

    get_tuple = blocking_form(aget_tuple)
    put = blocking_form(aput)
    put_writes = blocking_form(aput_writes)
    delete_thread = blocking_form(adelete_thread)
    delete_for_runs = blocking_form(adelete_for_runs)
    copy_thread = blocking_form(acopy_thread)
    prune = blocking_form(aprune)
    list = blocking_series(alist)

    async def _collections(self, config: RunnableConfig | None) -> Any:
        """Return the collections of checkpoints of all threads, of one, or of one namespace of it."""
        if config is None:
            found = await self._storage.list_collections((ROOT,))
            return [each for each in found if each[2] == "checkpoints"]
        thread = str(config["configurable"]["thread_id"])
        if (namespace := config["configurable"].get("checkpoint_ns")) is not None:
            return [(ROOT, thread, "checkpoints", namespace)]
        return await self._storage.list_collections((ROOT, thread, "checkpoints"))

    def _tuple(self, document: DocumentModel, writes: Sequence[DocumentModel]) -> CheckpointTuple:
        _, thread, _, namespace = document.collection
        value = document.value
        parent = value["parent"]
        return CheckpointTuple(
            config_of(thread, namespace, document.key),
            self.serde.loads_typed((value["type"], cast(bytes, document.data))),
            metadata_of(value),
            config_of(thread, namespace, parent) if parent else None,
            writes_of(writes, self.serde),
        )

    async def _refuse_delta_channels(self, collection: tuple[str, ...]) -> None:
        places = [(id, collection) for id in await self._storage.list_document_keys(collection)]
        async for page in pages(self._storage, places):
            for document in page:
                values = self._tuple(document, ()).checkpoint["channel_values"].values()
                if not DELTA_MARKS.isdisjoint(document.value["metadata"]) or any(
                    isinstance(value, _DeltaSnapshot) for value in values
                ):
                    raise NotImplementedError(f"keep_latest cannot prune a thread with a DeltaChannel: {collection[1]}")

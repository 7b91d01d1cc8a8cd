"""A2A's tasks and push notification configurations over documents; needs `pip install "swarm-persistence[a2a]"`.

A task is a document of the collection `("a2a", "tasks", owner)`; what lists are filtered and sorted by is a second
document of `("a2a", "tasks", owner, "index")`, its label the context's id, so that a page reads no more tasks than it
shows. A configuration is a document of `("a2a", "push", task, owner)`.
"""

from typing import Any, cast

try:
    from a2a.server.cluster import ConcurrentTaskModificationError, StoredTask, TaskVersion, VersionedTaskStore
    from a2a.server.context import ServerCallContext
    from a2a.server.events import Event
    from a2a.server.owner_resolver import OwnerResolver, resolve_user_scope
    from a2a.server.tasks import PushNotificationConfigStore, TaskStore
    from a2a.server.tasks.push_notification_config_store import normalize_push_notification_config
    from a2a.types.a2a_pb2 import ListTasksRequest, ListTasksResponse, Task, TaskPushNotificationConfig, TaskState
    from a2a.utils.constants import DEFAULT_LIST_TASKS_PAGE_SIZE
    from a2a.utils.errors import InvalidParamsError
    from a2a.utils.task import (
        ListTasksCursor,
        decode_list_tasks_cursor,
        decode_page_token,
        encode_list_tasks_cursor,
    )
except ImportError as error:
    raise ImportError('these stores need A2A: pip install "swarm-persistence[a2a]"') from error

from swarm_persistence import ConflictError, DocumentModel, NotFoundError, Storage

ROOT = "a2a"
SortKey = tuple[bool, int, str]


class SwarmTaskStore(TaskStore):
    """Keeps A2A's tasks in a storage: `DefaultRequestHandler(…, task_store=SwarmTaskStore(storage))`."""

    def __init__(self, storage: Storage, owner_resolver: OwnerResolver = resolve_user_scope) -> None:
        self._storage = storage
        self._owner = owner_resolver

    async def save(self, task: Task, context: ServerCallContext) -> None:
        """Store a task of the caller, or replace it."""
        await self._storage.put_documents([*_documents(task, self._owner(context))])

    async def get(self, task_id: str, context: ServerCallContext) -> Task | None:
        """Return the task, or `None` if the caller has none of this id."""
        document = await self._storage.get_document((ROOT, "tasks", self._owner(context)), task_id)
        return None if document is None else _task(document)

    async def list(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        """Return a page of the caller's tasks, the last changed first; those without a time come last.

        Raises:
            InvalidParamsError: the page token is not one of this store, or the page size is below 0.

        """
        if params.page_size < 0:
            raise InvalidParamsError(f"page_size is {params.page_size}, expected 0 or more")
        tasks = (ROOT, "tasks", self._owner(context))
        index = await self._storage.list_documents((*tasks, "index"), label=params.context_id or None)
        found = sorted((_sort_key(each) for each in index if _matches(each.value, params)), reverse=True)
        rest = _after(found, params.page_token) if params.page_token else found
        size = params.page_size or DEFAULT_LIST_TASKS_PAGE_SIZE
        page = rest[:size]
        return ListTasksResponse(
            tasks=[_task(each) for each in await self._storage.get_documents(tasks, [id for _, _, id in page])],
            next_page_token=_token(page[-1]) if len(rest) > size else None,
            page_size=size,
            total_size=len(found),
        )

    async def delete(self, task_id: str, context: ServerCallContext) -> None:
        """Delete the task, if the caller has one of this id."""
        tasks = (ROOT, "tasks", self._owner(context))
        async with self._storage.transaction():
            for collection in (tasks, (*tasks, "index")):
                await self._storage.delete_documents(collection, keys=[task_id])


class SwarmVersionedTaskStore(VersionedTaskStore):
    """Keeps A2A's tasks as `SwarmTaskStore` does, and refuses a save of a copy that is stale.

    Servers that share a storage take it in place of `SwarmTaskStore`; the tasks of either are those of the other.
    """

    def __init__(self, storage: Storage, owner_resolver: OwnerResolver = resolve_user_scope) -> None:
        self._storage = storage
        self._owner = owner_resolver
        self._plain = SwarmTaskStore(storage, owner_resolver)

    async def save(
        self,
        task: Task,
        *,
        event: Event | None,
        prev: Task | None,
        prev_version: TaskVersion,
        context: ServerCallContext,
    ) -> TaskVersion:
        """Store the task and return its new version.

        A task that becomes canceled replaces any version that is not finished. The event is not stored.

        Raises:
            ConcurrentTaskModificationError: the stored version is not `prev_version`; nothing was written.

        """
        document, entry = _documents(task, self._owner(context))
        try:
            async with self._storage.transaction():
                stored = await self._storage.get_document(document.collection, task.id)
                if task.status.state == TaskState.TASK_STATE_CANCELED:
                    stale = stored is None or _task(stored).status.state in _FINISHED
                else:
                    stale = _version(stored) != prev_version
                if stale:
                    raise ConcurrentTaskModificationError(task.id)
                if stored is None:
                    counts = await self._storage.put_documents([], if_absent=[document])
                    if counts.kept:
                        raise ConcurrentTaskModificationError(task.id)
                else:
                    document.version = stored.version
                    await self._storage.update_document(document)
                await self._storage.put_documents([entry])
        except (ConflictError, NotFoundError) as error:
            raise ConcurrentTaskModificationError(task.id) from error
        return _version(document)

    async def get(self, task_id: str, context: ServerCallContext) -> StoredTask | None:
        """Return the task with its version, or `None` if the caller has none of this id."""
        document = await self._storage.get_document((ROOT, "tasks", self._owner(context)), task_id)
        return None if document is None else StoredTask(_task(document), _version(document))

    async def list(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        """Return a page of the caller's tasks, as `SwarmTaskStore.list` does."""
        return await self._plain.list(params, context)

    async def delete(self, task_id: str, context: ServerCallContext) -> None:
        """Delete the task, if the caller has one of this id."""
        await self._plain.delete(task_id, context)


class SwarmPushNotificationConfigStore(PushNotificationConfigStore):
    """Keeps A2A's push notification configurations in a storage, with their tokens and credentials as they are."""

    def __init__(self, storage: Storage, owner_resolver: OwnerResolver = resolve_user_scope) -> None:
        self._storage = storage
        self._owner = owner_resolver

    async def set_info(
        self, task_id: str, notification_config: TaskPushNotificationConfig, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        """Store a configuration of the caller, or replace the one of its id; return it as it is stored."""
        stored = normalize_push_notification_config(task_id, notification_config)
        collection = (ROOT, "push", task_id, self._owner(context))
        document = DocumentModel.new(collection, stored.id, None, stored.SerializeToString())
        await self._storage.put_documents([document])
        return stored

    async def get_info(self, task_id: str, context: ServerCallContext) -> list[TaskPushNotificationConfig]:
        """Return the caller's configurations for the task."""
        found = await self._storage.list_documents((ROOT, "push", task_id, self._owner(context)))
        return [_configuration(document) for document in found]

    async def get_info_for_dispatch(self, task_id: str) -> list[TaskPushNotificationConfig]:
        """Return the configurations of all owners for the task."""
        found = await self._storage.list_documents((ROOT, "push", task_id), below=True)
        return [_configuration(document) for document in found]

    async def delete_info(self, task_id: str, context: ServerCallContext, config_id: str | None = None) -> None:
        """Delete the caller's configuration of this id, or all of the caller's for the task."""
        keys = None if config_id is None else [config_id]
        await self._storage.delete_documents((ROOT, "push", task_id, self._owner(context)), keys=keys)


_FINISHED = {
    TaskState.TASK_STATE_COMPLETED,
    TaskState.TASK_STATE_CANCELED,
    TaskState.TASK_STATE_FAILED,
    TaskState.TASK_STATE_REJECTED,
}


def _documents(task: Task, owner: str) -> tuple[DocumentModel, DocumentModel]:
    """Return the task, and its entry in the index."""
    timestamp = task.status.timestamp.ToNanoseconds() if task.status.HasField("timestamp") else None
    entry = {"state": task.status.state, "timestamp": timestamp}
    tasks = (ROOT, "tasks", owner)
    return (
        DocumentModel.new(tasks, task.id, None, task.SerializeToString()),
        DocumentModel.new((*tasks, "index"), task.id, entry, label=task.context_id),
    )


def _version(document: DocumentModel | None) -> TaskVersion:
    return TaskVersion.MISSING if document is None else TaskVersion(document.version)


def _task(document: DocumentModel) -> Task:
    return cast(Task, Task.FromString(document.data))


def _configuration(document: DocumentModel) -> TaskPushNotificationConfig:
    return cast(TaskPushNotificationConfig, TaskPushNotificationConfig.FromString(document.data))


def _matches(entry: dict[str, Any], params: ListTasksRequest) -> bool:
    if params.status and entry["state"] != params.status:
        return False
    if not params.HasField("status_timestamp_after"):
        return True
    earliest = params.status_timestamp_after.ToNanoseconds()
    return entry["timestamp"] is not None and entry["timestamp"] >= earliest


def _sort_key(document: DocumentModel) -> SortKey:
    timestamp = document.value["timestamp"]
    return timestamp is not None, timestamp or 0, document.key


def _token(last: SortKey) -> str:
    has_timestamp, timestamp, id = last
    return encode_list_tasks_cursor(ListTasksCursor(timestamp if has_timestamp else None, id))


def _after(found: list[SortKey], page_token: str) -> list[SortKey]:
    """Return the tasks after the one that the token names; a token of an older version includes it."""
    cursor = decode_list_tasks_cursor(page_token)
    if cursor is not None:
        return [each for each in found if each < cursor.sort_key()]
    first = decode_page_token(page_token)
    for place, (_, _, id) in enumerate(found):
        if id == first:
            return found[place:]
    raise InvalidParamsError(f"Invalid page token: {page_token}")

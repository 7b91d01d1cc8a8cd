"""The handlers that are the same for every noun: list, count, delete by filters, show, store, change."""

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import Operation, Parameter, Schema
from litestar.params import JSONBody, QueryParameter
from msgspec import UNSET

from swarm_persistence import InvalidQueryError, Model, NotFoundError, QueryBuilder, Storage, TaskModel
from swarm_persistence.clock import now
from swarm_persistence.query.filters import OPERATORS, query_of
from swarm_persistence.web.answers import answer, record_answer
from swarm_persistence.web.api.bodies import changes_body, new_record_body
from swarm_persistence.web.api.parameters import Cursor, IfMatch, Limit, Sort
from swarm_persistence.web.dependencies import AnyRequest, Idempotent, InjectedStorage, RecordId
from swarm_persistence.web.entity_tags import require_match
from swarm_persistence.web.lists import DEFAULT_RECORDS, OWN_PARAMETERS, RecordPage, page_of
from swarm_persistence.web.problems import HttpProblem
from swarm_persistence.web.traces import trace_parent_of


class RecordCount(msgspec.Struct, frozen=True):
    """How many records have the same values in some fields."""

    values: dict[str, Any]
    count: int


class Deletion(msgspec.Struct, frozen=True):
    """How many records were deleted, or would be."""

    count: int
    dry_run: bool


def handlers_of_many(model: type[Model]) -> list[HTTPRouteHandler]:
    """Return the handlers that list, count and delete the records of a model by filters."""
    return [list_handler(model), count_handler(model), delete_matching_handler(model)]


def common_handlers(model: type[Model]) -> list[HTTPRouteHandler]:
    """Return the handlers that nouns have in common: those of many records, and those that show and store one."""
    return [*handlers_of_many(model), show_handler(model), store_handler(model)]


def list_handler(model: type[Model]) -> HTTPRouteHandler:
    """Return the handler that lists the records of a model."""

    async def list_records(
        request: AnyRequest,
        storage: InjectedStorage,
        limit: Limit = DEFAULT_RECORDS,
        cursor: Cursor = None,
        sort: Sort = None,
    ) -> Any:
        """Return a page of the records that match all filters, each named as a field, with an operator after a dot.

        `status=pending&created_at.ge=2026-01-01T00:00:00Z`: the operators are eq (also without a name), ne, gt, ge, lt,
        le, like (with % and _) and null (true or false). Of several values of one filter, one must fit. A tag is named
        as in `tags.run=7`. The next page is that of `next_cursor`, with the same filters and order.
        """
        return answer(await page_of(storage, model, _filters(request, OWN_PARAMETERS), sort, limit, cursor))

    page: Any = RecordPage
    return _typed(get("/", operation_class=_operation(model), name=f"list {_noun(model)}s"), list_records, page[model])


def count_handler(model: type[Model]) -> HTTPRouteHandler:
    """Return the handler that counts the records of a model by the values of fields."""

    async def count_records(
        request: AnyRequest,
        storage: InjectedStorage,
        by: Annotated[list[str], QueryParameter(min_items=1, description="The fields to count by.")],
    ) -> Any:
        """Count the records that match the filters, for each combination of the values of these fields."""
        query = query_of(model, _filters(request, frozenset({"by"})))
        counts = await storage.count_by(query, *by)
        return answer([RecordCount(dict(zip(by, key, strict=True)), count) for key, count in counts.items()])

    return _typed(get("/counts", operation_class=_operation(model)), count_records, list[RecordCount])


def delete_matching_handler(model: type[Model]) -> HTTPRouteHandler:
    """Return the handler that deletes the records of a model that match filters."""

    async def delete_records(
        request: AnyRequest,
        storage: InjectedStorage,
        dry_run: Annotated[bool, QueryParameter(description="Delete nothing; false deletes.")] = True,
    ) -> Any:
        """Permanently delete the records that match all filters of a list; only count them without `dry_run=false`.

        Without a filter, the answer is 422. It runs in short writes. After an interruption, call it again: it deletes
        what is left.
        """
        query = query_of(model, _filters(request, frozenset({"dry_run"})))
        return answer(Deletion(await storage.delete_where(query, dry_run=dry_run), dry_run))

    name = f"delete {_noun(model)}s"
    handler = delete("/", status_code=200, operation_class=_operation(model), name=name)
    return _typed(handler, delete_records, Deletion)


def show_handler(model: type[Model]) -> HTTPRouteHandler:
    """Return the handler that shows one record."""

    async def show_record(record_id: RecordId, storage: InjectedStorage) -> Any:
        """Return one record."""
        return record_answer(await existing(storage, model, record_id))

    return _typed(get("/{id:str}"), show_record, model)


def store_handler(model: type[Model]) -> HTTPRouteHandler:
    """Return the handler that stores a record."""

    async def store_record(
        data: Any,
        request: AnyRequest,
        storage: InjectedStorage,
        idempotent: Idempotent,
    ) -> Any:
        """Store a new record: 201. If one with its `idempotency_key` is stored already, it is returned: 200."""

        async def store() -> Response[Any]:
            record = model(**msgspec.structs.asdict(data))
            if isinstance(record, TaskModel) and record.trace_parent is None and storage.instrumentation is None:
                record.trace_parent = trace_parent_of(request.scope)
            store_one: Any = getattr(storage, f"store_{_noun(model)}")
            stored = await store_one(record)
            return record_answer(stored, 201 if stored.id == record.id else 200)

        return await idempotent.once(store)

    return _typed(post("/"), store_record, model, data=_body(new_record_body(model)))


def change_handler(model: type[Model]) -> HTTPRouteHandler:
    """Return the handler that changes some fields of a record."""

    async def change_record(data: Any, record_id: RecordId, storage: InjectedStorage, if_match: IfMatch = None) -> Any:
        """Change the given fields of a record; with `If-Match`, only if it has this version: else 412."""
        changes = {name: value for name, value in msgspec.structs.asdict(data).items() if value is not UNSET}

        def change(record: Any) -> None:
            require_match(if_match, record)
            for name, value in changes.items():
                setattr(record, name, value)
            record.updated_at = now()

        versioned: Any = model
        return record_answer(await storage.modify(versioned, record_id, change))

    return _typed(patch("/{id:str}"), change_record, model, data=_body(changes_body(model)))


async def delete_if_it_matches(storage: Storage, record: Any, if_match: str) -> None:
    """Delete a versioned record, `None` if there is none, if an `If-Match` header matches it.

    Raises:
        HttpProblem: the header does not match, or the record changes meanwhile: 412.

    """
    require_match(if_match, record)
    same = QueryBuilder(type(record)).where_eq("id", record.id).where_eq("version", record.version)
    if not await storage.delete_where(same.where_eq("created_at", record.created_at)):
        raise HttpProblem(
            412, f"The record has just changed; it no longer has version {record.version}. Read it again."
        )


async def existing(storage: Storage, model: type[Model], id: str) -> Any:
    """Return the record of an id; `NotFoundError` if there is none."""
    record = await storage.repository(model).find_by_id(id)
    if record is None:
        raise NotFoundError(f"{_noun(model)} {id!r}")
    return record


def _typed(handler: Any, function: Any, answered: Any, **bodies: Any) -> HTTPRouteHandler:
    """Return the handler of a function whose annotations depend on the model."""
    answer_type: Any = Response
    function.__annotations__.update({"return": answer_type[answered], **bodies})
    typed: HTTPRouteHandler = handler(function)
    return typed


def _body(struct: Any) -> Any:
    body: Any = JSONBody
    return body[struct]


def _filters(request: AnyRequest, others: frozenset[str]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in request.query_params.multi_items() if name not in others]


def _operation(model: type[Model]) -> type[Operation]:
    """Return the description of an operation that has the filters of a model."""
    filters = [
        Parameter(
            name=field.name,
            param_in="query",
            required=False,
            description=f"A filter; also with an operator: {field.name}.{OPERATORS[1]}=…",
            schema=Schema(),
        )
        for field in msgspec.structs.fields(model)
        if _is_comparable(model, field.name)
    ]

    @dataclass
    class FilteredOperation(Operation):
        def __post_init__(self) -> None:
            self.parameters = [*(self.parameters or ()), *filters]

    return FilteredOperation


def _is_comparable(model: type[Model], field: str) -> bool:
    try:
        QueryBuilder(model).order_by(field)
    except InvalidQueryError:
        return False
    return True


def _noun(model: type[Model]) -> str:
    return model.__name__.removesuffix("Model").lower()

"""What the lists of the page share: filters from the query string, the table's order, and links to the next page."""

from collections.abc import Sequence
from typing import Any, TypeVar

from swarm_persistence import InvalidQueryError, Model, SerializationError, Storage
from swarm_persistence.web.dependencies import AnyRequest
from swarm_persistence.web.lists import RecordPage, page_of

M = TypeVar("M", bound=Model)

PAGE_SIZE = 50


class Listed:
    """One page of a list, with its filters (empty if they are not set), and why they are invalid."""

    def __init__(self, filters: dict[str, str], tag: str, sort: str, cursor: str | None) -> None:
        self.filters = filters | {"tag": tag}
        self._tag = tag
        self.sort = sort
        self.cursor = cursor
        self.records: RecordPage[Any] = RecordPage([], None)
        self.refusal: str | None = None

    @property
    def set_filters(self) -> list[tuple[str, str]]:
        """The filters that have a value, as `page_of` takes them."""
        filters = [(name, value) for name, value in self.filters.items() if value and name != "tag"]
        if self._tag:
            key, _, value = self._tag.partition("=")
            filters.append((f"tags.{key.strip()}", value.strip()))
        return filters

    def sorted_by(self, field: str) -> dict[str, str]:
        """Return the parameters that sort by a field; in the opposite order if the list is already sorted by it."""
        order = field if self.sort == f"-{field}" else f"-{field}"
        return {**self.filters, "sort": order}

    def aria_sort(self, field: str) -> str:
        """Return what a table's heading tells of its order."""
        return {f"-{field}": "descending", field: "ascending"}.get(self.sort, "none")

    @property
    def next(self) -> dict[str, str]:
        """The parameters of the next page."""
        return {**self.filters, "sort": self.sort, "cursor": self.records.next_cursor or ""}

    @property
    def first(self) -> dict[str, str]:
        """The parameters of the first page."""
        return {**self.filters, "sort": self.sort}


async def listed(request: AnyRequest, storage: Storage, model: type[M], fields: Sequence[str], sort: str) -> Listed:
    """Return the page that a query string asks for; filters of other fields are left out."""
    given = request.query_params
    filters = {name: given.get(name, "").strip() for name in fields}
    tag = given.get("tag", "").strip()
    wanted = Listed(filters, tag, given.get("sort") or sort, given.get("cursor") or None)
    try:
        wanted.records = await page_of(storage, model, wanted.set_filters, wanted.sort, PAGE_SIZE, wanted.cursor)
    except (InvalidQueryError, SerializationError) as error:
        wanted.refusal = str(error)
    return wanted

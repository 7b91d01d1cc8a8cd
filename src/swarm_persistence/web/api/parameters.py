"""What handlers of several nouns take: ids in paths, headers, and the filters of lists."""

from typing import Annotated
from urllib.parse import unquote

from litestar.params import FromPath, HeaderParameter, QueryParameter

IfMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match", description="The ETag of the copy that was read; another version is answered by 412."
    ),
]
Limit = Annotated[int, QueryParameter(ge=1, le=1000, description="How many records at most.")]
Cursor = Annotated[str | None, QueryParameter(description="The next_cursor of the page before.")]
Sort = Annotated[
    str | None,
    QueryParameter(description="A field; with - before it, from the highest value down. Ties are in the order of ids."),
]
Wait = Annotated[float, QueryParameter(ge=0, le=60, description="How many seconds to wait for it.")]


def record_id(id: FromPath[str]) -> str:
    """Return the id in a path, in which a slash is still percent-encoded."""
    return unquote(id)

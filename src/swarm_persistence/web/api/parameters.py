"""Parameters shared by handlers of several nouns: ids in paths, headers, and filters of lists."""

from typing import Annotated, Literal
from urllib.parse import unquote

from litestar.params import FromPath, HeaderParameter, QueryParameter

from swarm_persistence.web.problems import HttpProblem

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
LastEventId = Annotated[
    str | None,
    HeaderParameter(
        name="Last-Event-ID",
        description="The id of the last event received; takes precedence over after. An empty one is ignored.",
    ),
]
Sequence = Annotated[
    str, QueryParameter(description='The sequence after which to begin, 0 for all that is stored, or "now".')
]
Wait = Annotated[float, QueryParameter(ge=0, le=60, description="How many seconds to wait for it.")]


def record_id(id: FromPath[str]) -> str:
    """Return the id in a path, in which a slash is still percent-encoded."""
    return unquote(id)


def position_in_log(text: str) -> int | Literal["now"]:
    """Return the sequence after which a stream begins.

    Raises:
        HttpProblem: the parameter is not a number.

    """
    if text == "now":
        return "now"
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise HttpProblem(422, f'after is {text!r}, expected the sequence of an event, or "now"')
    return int(text)

"""Comments that tell a server which verb a statement belongs to, in sqlcommenter's format.

A text has one comment for each verb, so that it is prepared once for each of them and not at every call.
"""

from contextvars import ContextVar
from functools import lru_cache
from urllib.parse import quote

VERB: ContextVar[str | None] = ContextVar("verb", default=None)
"""The verb that the calling task is at, where a storage tells it."""

_MOST_TEXTS = 10_000


def commented(text: str) -> str:
    """Return a statement with a comment that names the present verb, if there is one."""
    verb = VERB.get()
    return text if verb is None else _commented(text, verb)


@lru_cache(_MOST_TEXTS)
def _commented(text: str, verb: str) -> str:
    # The keys in their order, the values encoded as in a URL, which leaves no quote in them.
    action = quote(verb, safe="")
    return f"{text} /*action='{action}',application='swarm-persistence'*/"

"""Comments that name the verb of a statement, in sqlcommenter's format.

The comment names nothing but the verb, so that a text is prepared once per verb and not at every call.
"""

from contextvars import ContextVar
from functools import lru_cache
from urllib.parse import quote

VERB: ContextVar[str | None] = ContextVar("verb", default=None)
"""The verb that the current task runs, if the storage sets it."""

_MOST_TEXTS = 10_000


def commented(text: str) -> str:
    """Return a statement with a comment that names the current verb, if any."""
    verb = VERB.get()
    return text if verb is None else _commented(text, verb)


@lru_cache(_MOST_TEXTS)
def _commented(text: str, verb: str) -> str:
    # Keys are sorted, and values URL-encoded, so that they contain no quotes.
    action = quote(verb, safe="")
    return f"{text} /*action='{action}',application='swarm-persistence'*/"

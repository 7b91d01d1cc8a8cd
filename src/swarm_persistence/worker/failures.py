"""Formats an exception of a handler as the error of its task: type, message and place."""

import asyncio
import os
import traceback

_LONGEST = 4_000
_MOST_MEMBERS = 10


def members_of(error: BaseException) -> list[BaseException]:
    """Return the exceptions of a group and its subgroups, without cancellations; an ungrouped one alone."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    members: list[BaseException] = []
    rest: list[BaseException] = [error]
    while rest:
        each = rest.pop()
        if isinstance(each, BaseExceptionGroup):
            rest.extend(reversed(each.exceptions))
        elif not isinstance(each, asyncio.CancelledError):
            members.append(each)
    return members


def described(error: BaseException) -> str:
    """Return the exception's type, message and place, as text that every storage can hold."""
    summary = traceback.TracebackException.from_exception(error)
    message = _shortened(_message(error))
    place = f" ({os.path.basename(summary.stack[-1].filename)}:{summary.stack[-1].lineno})" if summary.stack else ""
    return storable(message + place)


def reason_of(error: BaseException) -> str:
    """Return the message of a handler's exception; if that is empty, describe the exception."""
    try:
        message = str(error)
    except Exception:  # the handler's own class, whose fault must not end the worker
        return described(error)
    return storable(_shortened(message))


def _message(error: BaseException) -> str:
    # Unlike str(), this also handles an exception whose __str__ fails.
    message = "".join(traceback.TracebackException.from_exception(error).format_exception_only()).strip()
    if not isinstance(error, BaseExceptionGroup):
        return message
    members = members_of(error)
    texts = [_message(each) for each in members[:_MOST_MEMBERS]]
    return f"{message}: {'; '.join(texts)}{'; …' if len(members) > _MOST_MEMBERS else ''}"


def _shortened(message: str) -> str:
    return message if len(message) <= _LONGEST else f"{message[:_LONGEST]}… ({len(message):,} characters)"


def storable(text: str) -> str:
    """Return a text as every storage can hold it."""
    # Bytes that were decoded with surrogateescape leave lone surrogates, which no storage takes.
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()

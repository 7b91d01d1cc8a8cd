"""Formats an exception of a handler as the error of its task: type, message and place."""

import os
import traceback

_LONGEST = 4_000


def described(error: BaseException) -> str:
    """Return the exception's type, message and place, as text that every storage can hold."""
    summary = traceback.TracebackException.from_exception(error)
    # It also handles an exception whose __str__ fails.
    message = "".join(summary.format_exception_only()).strip()
    if len(message) > _LONGEST:
        message = f"{message[:_LONGEST]}… ({len(message):,} characters)"
    place = f" ({os.path.basename(summary.stack[-1].filename)}:{summary.stack[-1].lineno})" if summary.stack else ""
    return storable(message + place)


def reason_of(error: BaseException) -> str:
    """Return the message by which a handler says why its task fails; if it has none to give, describe the exception."""
    try:
        message = str(error)
    except Exception:  # the handler's own class, whose fault must not end the worker
        return described(error)
    return storable(message)


def storable(text: str) -> str:
    """Return a text as every storage can hold it."""
    # Bytes that were decoded with surrogateescape leave lone surrogates, which no storage takes.
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()

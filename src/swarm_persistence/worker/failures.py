"""Describes what a handler raised, as the error of its task: what it was, and where it came from."""

import os
import traceback

_LONGEST = 4_000


def described(error: BaseException) -> str:
    """Return the error's type, text and place, as text that every storage takes."""
    summary = traceback.TracebackException.from_exception(error)
    # It also copes with an error whose own text cannot be had.
    said = "".join(summary.format_exception_only()).strip()
    if len(said) > _LONGEST:
        said = f"{said[:_LONGEST]}… ({len(said):,} characters)"
    place = f" ({os.path.basename(summary.stack[-1].filename)}:{summary.stack[-1].lineno})" if summary.stack else ""
    return _storable(said + place)


def _storable(said: str) -> str:
    # Bytes that were read as text may have left what is no text.
    return said.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()

"""Generates ids: UUIDv7 text (RFC 9562), unique and roughly ordered by time, so that B-trees stay compact."""

import os
from struct import unpack

from swarm_persistence.clock import now_in_microseconds

_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62
_RANDOM_62_BITS = (1 << 62) - 1
_RANDOM_NUMBERS_KEPT = 256

_random_numbers: list[int] = []
"""Random bytes are requested in blocks: a system call for each id would double its cost."""


def new_id() -> str:
    """Return a new UUIDv7: milliseconds, the fraction of one (RFC 9562, method 3), then 62 random bits."""
    milliseconds, fraction = divmod(now_in_microseconds(), 1000)
    try:
        random = _random_numbers.pop() & _RANDOM_62_BITS
    except IndexError:
        _random_numbers.extend(unpack(f"{_RANDOM_NUMBERS_KEPT}Q", os.urandom(8 * _RANDOM_NUMBERS_KEPT)))
        return new_id()
    number = ((milliseconds & 0xFFFF_FFFF_FFFF) << 80) | _VERSION_7 | ((fraction << 2) << 64) | _VARIANT | random
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


if hasattr(os, "register_at_fork"):  # not in a browser
    # A child must not repeat its parent's ids.
    os.register_at_fork(after_in_child=_random_numbers.clear)

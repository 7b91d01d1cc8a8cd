"""Refuses to pickle or copy a storage and its parts, with the reason."""

from typing import NoReturn, SupportsIndex

from swarm_persistence.errors import OtherError


class NotPicklable:
    """Base class of objects that hold connections, which belong to the process that opened them."""

    def __reduce_ex__(self, _protocol: SupportsIndex) -> NoReturn:
        raise OtherError(
            f"{self!r} can be neither pickled nor copied: its connections belong to this process; pass the path or the "
            "URL on, and open a storage of its own there"
        )

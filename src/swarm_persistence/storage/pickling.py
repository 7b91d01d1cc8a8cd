"""Says why a storage, and what belongs to one, can neither be pickled nor copied."""

from typing import NoReturn, SupportsIndex

from swarm_persistence.errors import OtherError


class NotPicklable:
    """The base of what holds connections: they belong to the process that opened them."""

    def __reduce_ex__(self, _protocol: SupportsIndex) -> NoReturn:
        raise OtherError(
            f"{self!r} can be neither pickled nor copied: its connections belong to this process; pass the path or the "
            "URL on, and open a storage of its own there"
        )

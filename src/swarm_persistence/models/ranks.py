"""The base of enums whose members have an order."""

from enum import Enum
from functools import total_ordering


@total_ordering
class RankedEnum(Enum):
    """An enum whose members are ordered as they are defined; `rank` counts from 0."""

    rank: int

    def __init__(self, _value: str) -> None:
        self.rank = len(type(self).__members__)

    def __lt__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.rank < other.rank

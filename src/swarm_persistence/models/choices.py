"""Enums whose members have an order, and the conversion of a text to the member of an enum."""

from enum import Enum
from functools import total_ordering
from typing import TypeVar

from swarm_persistence.errors import SerializationError, shown


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


E = TypeVar("E", bound=Enum)


def member(choices: type[E], value: object, field: str) -> E:
    """Return a member, or the member of a text; anything else raises `SerializationError`."""
    if isinstance(value, choices):
        return value
    if isinstance(value, str) and not isinstance(value, Enum):
        try:
            return choices(str.__str__(value))
        except ValueError:
            pass
    known = ", ".join(str(member.value) for member in choices)
    raise SerializationError(f"{field} is {shown(value)}, expected a {choices.__name__}: one of {known}")


def member_or_value(choices: type[E], value: E) -> E:
    """Return the member of a text, or the value unchanged if there is none: the write refuses it."""
    try:
        return member(choices, value, "")
    except SerializationError:
        return value

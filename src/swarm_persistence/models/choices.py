"""Turns the text of an enum's member into the member."""

from enum import Enum
from typing import TypeVar

from swarm_persistence.errors import SerializationError, shown

E = TypeVar("E", bound=Enum)


def member(choices: type[E], value: object, field: str) -> E:
    """Return a member as it is, and for a member's text the member; anything else raises `SerializationError`."""
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
    """Return the member of a text; what names no member is left as it is, for the write that refuses it."""
    try:
        return member(choices, value, "")
    except SerializationError:
        return value

"""Converts the text of an enum's member to the member."""

from enum import Enum
from typing import TypeVar

from swarm_persistence.errors import SerializationError, shown

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

"""What the actors of a trial have asked of a storage, what they were answered, and what must so be stored."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from typing import Any, NamedTuple

import msgspec

from swarm_persistence import Model

Key = tuple[str, str]
"""The name of a model, and the id of a record."""


class Expected(NamedTuple):
    """A record as it must be stored, but for some fields whose values its writer cannot know; or none at all."""

    record: Model | None
    unknown: frozenset[str] = frozenset()

    def fits(self, stored: Model | None) -> bool:
        """Tell whether what is stored is this."""
        if self.record is None or stored is None:
            return self.record is stored
        if not self.unknown:
            return self.record == stored
        fields = self.record.__struct_fields__
        return all(getattr(self.record, name) == getattr(stored, name) for name in fields if name not in self.unknown)


ABSENT = Expected(None)

State = Mapping[Key, Expected]
Stored = Mapping[Key, Model]


class Answer(Enum):
    """What the caller knows of its write."""

    STORED = "stored"
    REFUSED = "refused: nothing of it is stored"
    UNKNOWN = "unknown: it is stored, or it is not"


@dataclass
class RecordedWrite:
    """One write: what is stored after it, in each of the ways that it may come out."""

    name: str
    outcomes: list[State]
    submitted_at: int
    is_atomic: bool = True
    answer: Answer = Answer.UNKNOWN
    answered_at: int | None = None
    error: BaseException | None = None

    @property
    def keys(self) -> set[Key]:
        """Return the records that it may have changed."""
        return {key for outcome in self.outcomes for key in outcome}

    def __str__(self) -> str:
        because = "" if self.error is None else f" ({self.error!r})"
        return f"{self.name} of {sorted(id for _, id in self.keys)}, {self.answer.value}{because}"


@dataclass
class History:
    """The writes of one actor, which does one after the other, on records of its own."""

    name: str
    writes: list[RecordedWrite] = field(default_factory=list)


moments = count(1)
"""Tells what came first: each submission and each answer takes a number."""


def key_of(record: Model) -> Key:
    """Return what tells a record from all others."""
    return (type(record).__name__, record.id)


def exactly(*records: Model) -> dict[Key, Expected]:
    """Expect the records to be stored as they are now."""
    return {key_of(record): Expected(copied(record)) for record in records}


def nearly(record: Model, *unknown: str, **changes: Any) -> dict[Key, Expected]:
    """Expect a record with some changes, and any values in some fields."""
    return {key_of(record): Expected(msgspec.structs.replace(copied(record), **changes), frozenset(unknown))}


def absent(records: Iterable[Model]) -> dict[Key, Expected]:
    """Expect none of the records to be stored."""
    return {key_of(record): ABSENT for record in records}


def new(record: Model) -> dict[Key, Expected]:
    """Expect what a storage makes of a record that it has not held before."""
    if hasattr(record, "version"):
        return nearly(record, version=1)
    return nearly(record, "sequence") if hasattr(record, "sequence") else exactly(record)


def copied(record: Model) -> Model:
    """Return a copy that no call changes."""
    return msgspec.structs.replace(record)

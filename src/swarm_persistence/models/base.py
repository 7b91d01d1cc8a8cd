"""What every model has: an id, keyword construction, and JSON in and out."""

from typing import Self

import msgspec

from swarm_persistence.errors import SerializationError
from swarm_persistence.models.identifiers import new_id


class Model(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A record with an id. Assigning to its fields changes this object only, never the store."""

    id: str = msgspec.field(default_factory=new_id)

    def to_json(self) -> str:
        """Return the record as one JSON object: the fields' names, snake_case values, times as RFC 3339."""
        try:
            text = msgspec.json.encode(self)
            is_equal = msgspec.json.decode(text, type=type(self)) == self
        except (TypeError, ValueError, RecursionError) as error:
            raise SerializationError(f"{type(self).__name__} {self.id!r} has no JSON form: {error}") from error
        if not is_equal:
            # msgspec writes NaN as null, and tuples or datetimes as the nearest JSON.
            raise SerializationError(f"{type(self).__name__} {self.id!r} has no JSON form that gives back an equal one")
        return text.decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote; a missing, unknown or ill-typed field raises `SerializationError`."""
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise SerializationError(f"{cls.__name__}: {error}") from error

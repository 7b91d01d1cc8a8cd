"""What every model has: an id, keyword construction, and JSON in and out."""

from typing import Self

import msgspec

from swarm_persistence.errors import SerializationError, shown
from swarm_persistence.models.identifiers import new_id
from swarm_persistence.plain_json import encode_json


class Model(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A record with an id. Assigning to its fields changes this object only, never the store."""

    id: str = msgspec.field(default_factory=new_id)

    def to_json(self) -> str:
        """Return the record as one JSON object: the fields' names, snake_case values, times as RFC 3339."""
        name = f"{type(self).__name__} {shown(self.id)}"
        try:
            # A copy turns the texts of enum members that were assigned into the members, which come out of JSON.
            record = msgspec.structs.replace(self)
            text = encode_json(record)
            again = msgspec.json.decode(text, type=type(self))
            is_equal = again == record
        except (TypeError, ValueError, RecursionError) as error:
            raise SerializationError(f"{name} has no JSON form: {error}") from error
        if not is_equal:
            # msgspec writes NaN as null, tuples or datetimes as the nearest JSON. A time in the hour that its zone's
            # clocks repeat or skip equals none of another zone.
            changed = next(field for field in self.__struct_fields__ if getattr(again, field) != getattr(record, field))
            value = shown(getattr(self, changed))
            raise SerializationError(f"{name} has no JSON form that gives back an equal one: {changed} is {value}")
        return text.decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote; a missing, unknown or ill-typed field raises `SerializationError`."""
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise SerializationError(f"{cls.__name__}: {error}") from error

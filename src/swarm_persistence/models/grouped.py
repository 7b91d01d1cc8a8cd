"""What records of a group share: the builders that set the group and add tags."""

from collections.abc import Mapping
from typing import Any, Self

import msgspec


class Grouped:
    """A record that belongs to a group, such as one user or tenant. Tags describe it further."""

    __slots__ = ()

    def with_group(self, group: str | None) -> Self:
        """Return the same record in this group, or in none."""
        return self._replaced(group=group)

    def _replaced(self, **changes: Any) -> Self:
        record: Any = self
        replaced: Self = msgspec.structs.replace(record, **changes)
        return replaced


class Tagged(Grouped):
    """A grouped record with tags: texts under keys, by which queries find it."""

    __slots__ = ()

    def with_tags(self, tags: Mapping[str, str]) -> Self:
        """Return the same record with these tags, besides those that it has."""
        record: Any = self
        return self._replaced(tags={**record.tags, **tags})

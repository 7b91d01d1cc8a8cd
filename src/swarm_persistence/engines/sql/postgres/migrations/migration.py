"""The parts of a migration step: statements of one transaction, and work that runs beside writers."""

from collections.abc import Iterator

import msgspec


class CreateIndex(msgspec.Struct, frozen=True):
    """An index that is built beside writers; what an interrupted build has left is dropped and built again."""

    name: str
    definition: str
    """What follows the name: `ON {schema}.tasks (priority, sequence) WHERE …`."""
    is_unique: bool = False

    @property
    def table(self) -> str:
        """Return the name of the table."""
        return self.definition.partition("{schema}.")[2].partition(" ")[0]

    def statement(self, *, is_online: bool) -> str:
        """Return the statement that builds it."""
        unique = "UNIQUE " if self.is_unique else ""
        return f"CREATE {unique}INDEX {'CONCURRENTLY ' if is_online else ''}{self.name} {self.definition}"


class DropIndex(msgspec.Struct, frozen=True):
    """An index that is dropped beside readers and writers; a missing one is skipped."""

    name: str

    def statement(self, *, is_online: bool) -> str:
        """Return the statement that drops it."""
        return f"DROP INDEX {'CONCURRENTLY ' if is_online else ''}IF EXISTS {{schema}}.{self.name}"


class FillRows(msgspec.Struct, frozen=True):
    """A statement that changes the rows of a table in short writes, along their `sequence`.

    After an interruption, it runs again over rows that it has changed before. It may miss rows that are added
    meanwhile: a default or a trigger has to give them their values.
    """

    table: str
    statement: str
    """Changes the rows `WHERE sequence > $1 AND sequence <= $2`."""


Part = str | CreateIndex | DropIndex | FillRows
Group = tuple[str, ...] | CreateIndex | DropIndex | FillRows
"""The statements of one transaction, or a part that runs outside of one."""


class PostgresMigration(msgspec.Struct, frozen=True):
    """One step: brings the schema from the previous version to this one, and back.

    `{schema}` stands for the schema's quoted name. Adjacent statements form one transaction, which gives up soon if it
    cannot get a lock, and is retried; keep it as short as the waiters for its locks can bear. A step of several
    transactions may be interrupted between them, and is resumed from there. Its `down` has to work from each of these
    points (`IF EXISTS`).
    """

    version: int
    name: str
    up: tuple[Part, ...]
    down: tuple[Part, ...]
    opens_from: int
    """The oldest version whose code works on this one: running processes go on, and new ones may open the schema."""
    is_required: bool = True
    """Whether statements of this code fail without it; not if they are only slower."""

    def statements(self, *, is_upwards: bool) -> Iterator[str]:
        """Yield all statements as they run beside readers and writers, in order."""
        for part in self.up if is_upwards else self.down:
            match part:
                case CreateIndex() | DropIndex():
                    yield part.statement(is_online=True)
                case FillRows():
                    yield part.statement
                case _:
                    yield part

    def groups(self, *, is_upwards: bool) -> tuple[Group, ...]:
        """Return the transactions, and the parts outside of one, in order."""
        return tuple(_groups(self.up if is_upwards else self.down))


def _groups(parts: tuple[Part, ...]) -> Iterator[Group]:
    together: tuple[str, ...] = ()
    for part in parts:
        if isinstance(part, str):
            together = (*together, part)
            continue
        if together:
            yield together
        together = ()
        yield part
    if together:
        yield together

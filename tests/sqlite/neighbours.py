"""The steps of the schema beside which old code goes on, and what the tests of each share."""

from collections.abc import Iterable
from typing import Protocol

from sqlite import groups, limits, message_priorities, past_claims, schedules, trace_parents
from sqlite.programs import Program
from swarm_persistence import Storage


class NeighbourlyStep(Protocol):
    """What the tests on files and on servers share for one step."""

    NAME: str
    """The step's name, on both."""
    LAST_BEFORE: str
    """The last commit without it."""

    def program_of_old_code(self, backend: str) -> str:
        """Return a program of the old code, which first prints the version of the schema, then does as it is told."""
        ...

    async def fill(self, storage: Storage) -> None:
        """Store records of all kinds that the step touches."""
        ...

    async def require_defaults(self, storage: Storage) -> None:
        """See that all is there after the way back and forth, with the defaults of what was dropped."""
        ...

    async def require_neighbourliness(self, storage: Storage, running: Program, started_later: Program) -> None:
        """See what two programs of the old code do beside the new, one of them open since before the step."""
        ...


STEPS: dict[str, NeighbourlyStep] = {
    step.NAME: step for step in (message_priorities, groups, trace_parents, schedules, limits, past_claims)
}


class NamedMigration(Protocol):
    """A migration of either engine."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...


def version_before(step: NeighbourlyStep, migrations: Iterable[NamedMigration]) -> int:
    """Return the version of the schema that the step starts from."""
    return next(each.version for each in migrations if each.name == step.NAME) - 1

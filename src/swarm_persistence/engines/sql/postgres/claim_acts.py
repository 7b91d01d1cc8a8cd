"""Claims that stand alone: statements that take the place of a transaction, and commit by themselves."""

from collections.abc import Sequence
from typing import Any

from swarm_persistence.engines.interface import Claim, Step, Upkeep
from swarm_persistence.engines.sql.postgres.acts import Act, ClaimAct, CountAct, Steps
from swarm_persistence.engines.sql.postgres.claim_compiler import ClaimCompiler
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.errors import UnreadableError
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.schema.tables import SEQUENCE


class ClaimAloneAct:
    """Claims in a statement that commits; gives the records, or `None` if another query finds any row."""

    is_single = True

    def __init__(self, compiler: ClaimCompiler, claim: Claim[Any], due: Query[Any] | None) -> None:
        self.table = claim.query.table
        self._compiler = compiler
        self._claim = claim
        self._due = due

    async def run(self, connection: Connection) -> list[Any] | None:
        """Claim the rows."""
        rows = await self._claimed(connection, is_wide=False)
        if rows[0][-2] == "cut":
            rows = await self._claimed(connection, is_wide=True)
        connection.table_has(self._compiler.dialect.table(self.table), rows[0][-1])
        if rows[0][0] is None:
            return None if rows[0][-2] == "due" else []
        try:
            return ClaimAct.records(self._claim.query, rows)
        except UnreadableError:
            # It is committed, and the caller gets none of the rows.
            for row in rows:
                await self._undo(connection, row)
            raise

    async def _claimed(self, connection: Connection, *, is_wide: bool) -> list[Any]:
        claim = self._claim
        return await connection.run(*self._compiler.claim_alone(claim.query, claim.changes, self._due, is_wide=is_wide))

    async def _undo(self, connection: Connection, row: Any) -> None:
        """Give a claimed row back what it held before, unless it was changed since."""
        names = [*self._claim.changes]
        changes = dict(zip(names, row[-2 - len(names) : -2], strict=True))
        claimed = tuple(Condition(name, "=", row[self.table.positions[name]]) for name in (SEQUENCE, "version"))
        await connection.count(*self._compiler.update(Query(self.table, claimed), changes))


class ClaimPlan:
    """A write that brings rows up to date and then claims some: statements that stand alone, each of which commits."""

    def __init__(self, compiler: ClaimCompiler, upkeep: Upkeep[Any], claim: Claim[Any]) -> None:
        self.kind = upkeep
        self.unless_due = _alone(ClaimAloneAct(compiler, claim, upkeep.query))
        self.upkeep = _alone(CountAct(upkeep.query.table, *compiler.upkeep(upkeep.query, upkeep.changes)))
        self.claim = _alone(ClaimAloneAct(compiler, claim, None))
        self.tables = {claim.query.table.name}

    @classmethod
    def of(cls, compiler: ClaimCompiler, steps: Sequence[Step]) -> "ClaimPlan | None":
        """Return the plan of a write, if that is what it does; a row can be given back by its version only."""
        match steps:
            case [Upkeep() as upkeep, Claim() as claim] if claim.query.table.is_versioned:
                return cls(compiler, upkeep, claim)
        return None


def _alone(act: Act) -> Steps:
    steps = Steps()
    steps.add(act)
    return steps

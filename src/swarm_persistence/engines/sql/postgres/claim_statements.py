"""Claims that stand alone: statements that take the place of a transaction, and commit by themselves."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Self

from swarm_persistence.engines.sql.compiler import changes_shape
from swarm_persistence.engines.sql.postgres.claim_compiler import ClaimCompiler
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.execution import ConnectionStatement
from swarm_persistence.engines.sql.statements import CountStatement, Statement, claimed_records
from swarm_persistence.engines.steps import Change, Claim, Step, Upkeep
from swarm_persistence.errors import UnreadableError
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.tables import SEQUENCE

_MOST_SHARED = 64
"""A claim of more rows than this has a statement of its own."""


class ClaimAloneStatement(ConnectionStatement, eq=False, gc=False):
    """Claims in a statement that commits; gives the records, or `None` if another query finds any row."""

    compiler: ClaimCompiler
    claim: Claim[Any]
    due: Query[Any] | None

    async def run_on(self, connection: Connection) -> list[Any] | None:
        rows = await self._claimed(connection, is_wide=False)
        if rows[0][-2] == "cut":
            rows = await self._claimed(connection, is_wide=True)
        connection.table_has(self.compiler.dialect.table(self.claim.query.table), rows[0][-1])
        if rows[0][0] is None:
            return None if rows[0][-2] == "due" else []
        return await self._given(connection, rows)

    async def _claimed(self, connection: Connection, *, is_wide: bool) -> list[Any]:
        claim = self.claim
        return await connection.run(*self.compiler.claim_alone(claim.query, claim.changes, self.due, is_wide=is_wide))

    async def _given(self, connection: Connection, rows: list[Any]) -> list[Any]:
        try:
            return claimed_records(self.claim.query, rows)
        except UnreadableError:
            # It is committed, and the caller gets none of the rows.
            for row in rows:
                await self._undo(connection, row)
            raise

    async def _undo(self, connection: Connection, row: Any) -> None:
        """Give a claimed row back what it held before, unless it was changed since."""
        table, names = self.claim.query.table, [*self.claim.changes]
        changes = dict(zip(names, row[-2 - len(names) : -2], strict=True))
        claimed = tuple(Condition(name, "=", row[table.positions[name]]) for name in (SEQUENCE, "version"))
        await connection.count(*self.compiler.update(Query(table, claimed), changes))


class ClaimTogetherStatement(ClaimAloneStatement, eq=False, gc=False):
    """Claims for several callers, as if one had come after the other.

    For each claim that got any rows, it gives its place and the records, or the error of one that cannot be read.
    """

    owners: Sequence[int]
    """For each row that is asked for, the claim that it belongs to."""
    changes: Sequence[Mapping[str, Change]]
    """For each row, how it is changed."""

    @classmethod
    def of(cls, compiler: ClaimCompiler, claims: Sequence[Claim[Any]], due: Query[Any] | None) -> Self:
        """Return the statement of several claims."""
        owners = [place for place, claim in enumerate(claims) for _ in range(claim.query.limit or 0)]
        return cls(compiler, claims[0], due, owners, [claims[owner].changes for owner in owners])

    async def _claimed(self, connection: Connection, *, is_wide: bool) -> list[Any]:
        query = self.claim.query
        return await connection.run(*self.compiler.claim_together(query, self.changes, self.due, is_wide=is_wide))

    async def _given(self, connection: Connection, rows: list[Any]) -> list[tuple[int, list[Any] | UnreadableError]]:
        place = len(self.claim.query.table.stored_names) + 1
        rows_of: dict[int, list[Any]] = {}
        for row in sorted(rows, key=lambda row: int(row[place])):
            rows_of.setdefault(self.owners[row[place] - 1], []).append(row)
        decode = codec_of(self.claim.query.table.model).decode
        found: list[tuple[int, list[Any] | UnreadableError]] = []
        for owner, own in rows_of.items():
            try:
                found.append((owner, [*map(decode, own)]))
            except UnreadableError as error:
                for row in own:
                    await self._undo(connection, row)
                found.append((owner, error))
        return found


class ClaimPlan:
    """Writes that bring rows up to date and then claim some: statements that stand alone, each of which commits."""

    def __init__(self, compiler: ClaimCompiler, upkeep: Upkeep[Any], claims: Sequence[Claim[Any]]) -> None:
        """Take one claim, or several of one `shape`."""
        self.kind = upkeep
        self.tables = {claims[0].query.table.name}
        self._compiler = compiler
        self._claims = claims

    @classmethod
    def of(cls, compiler: ClaimCompiler, steps: Sequence[Step]) -> "ClaimPlan | None":
        """Return the plan of a write, if that is what it does; a row can be given back by its version only."""
        match steps:
            case [Upkeep() as upkeep, Claim() as claim] if claim.query.table.is_versioned:
                return cls(compiler, upkeep, (claim,))
        return None

    @classmethod
    def together(cls, plans: "Sequence[ClaimPlan]") -> "ClaimPlan":
        """Return the plan of several writes of one claim each, which gives what `ClaimTogetherStatement` gives."""
        first = plans[0]
        return cls(first._compiler, first.kind, [plan._claims[0] for plan in plans])

    @property
    def shape(self) -> Hashable | None:
        """Return what claims have in common that can be made together; `None` if this one cannot."""
        claim = self._claims[0]
        query = claim.query
        if not query.limit or query.limit > _MOST_SHARED or query.offset:
            return None
        return self.kind, query.conditions, query.order, changes_shape(claim.changes)

    @property
    def most(self) -> int:
        """Return how many rows are claimed at most; one without a limit counts as one."""
        return sum(claim.query.limit or 1 for claim in self._claims)

    @property
    def unless_due(self) -> list[Statement]:
        """Return what claims, or gives `None` if there is anything to bring up to date."""
        return [self._claim_statement(self.kind.query)]

    @property
    def claim(self) -> list[Statement]:
        """Return what claims without a look at that."""
        return [self._claim_statement(None)]

    @property
    def upkeep(self) -> list[Statement]:
        """Return what brings rows up to date."""
        upkeep = self.kind
        return [CountStatement(*self._compiler.upkeep(upkeep.query, upkeep.changes), upkeep.query.table)]

    def _claim_statement(self, due: Query[Any] | None) -> Statement:
        if len(self._claims) == 1:
            return ClaimAloneStatement(self._compiler, self._claims[0], due)
        return ClaimTogetherStatement.of(self._compiler, self._claims, due)

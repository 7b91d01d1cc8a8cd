"""Claims as single statements, which replace a transaction and commit by themselves."""

from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

from swarm_persistence.clock import is_system_clock
from swarm_persistence.engines.sql.compiler import changes_shape
from swarm_persistence.engines.sql.postgres.claim_compiler import ClaimCompiler
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.execution import ConnectionStatement
from swarm_persistence.engines.sql.postgres.lower_bounds import LowerBounds
from swarm_persistence.engines.sql.postgres.statements import Values
from swarm_persistence.engines.sql.query_compiler import Compiled
from swarm_persistence.engines.sql.statements import CountStatement, Statement
from swarm_persistence.engines.steps import Change, Claim, Step, Upkeep
from swarm_persistence.errors import UnreadableError
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.query.semantics import sorted_rows
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.tables import SEQUENCE

_MOST_SHARED = 64
"""A claim of more rows than this has a statement of its own."""
_OTHERS = 3
"""How many columns a claim returns in addition to those of its rows."""


class CommittingClaimStatement(ConnectionStatement, eq=False, gc=False):
    """Claims in a statement that commits; gives `None` if the query `due` matches any row."""

    compiler: ClaimCompiler
    claim: Claim[Any]
    due: Query[Any] | None
    bounds: LowerBounds

    async def run_on(self, connection: Connection) -> list[Any] | None:
        rows = await self._claimed_from_bounds(connection) or await self._claimed_from_front(connection)
        reason, size, _ = rows[0][-_OTHERS:]
        connection.note_table_size(self.compiler.dialect.table(self.claim.query.table), size)
        if rows[0][0] is None:
            return None if reason == "due" else []
        return await self._given(connection, rows)

    async def _claimed_from_bounds(self, connection: Connection) -> list[Any] | None:
        """Claim above the lower bounds; give `None` if there are no bounds, or no rows above them."""
        bounds = self.bounds.of(self.claim.query)
        if bounds is None:
            return None
        rows = await self._claimed(connection, is_wide=False, bounds=bounds)
        if rows[0][0] is not None:
            self.bounds.advance(self.claim.query, rows)
        return rows if rows[0][0] is not None or rows[0][-_OTHERS] == "due" else None

    async def _claimed_from_front(self, connection: Connection) -> list[Any]:
        rows = await self._claimed(connection, is_wide=False)
        reason, _, walked = rows[0][-_OTHERS:]
        if reason == "cut":
            return await self._claimed(connection, is_wide=True)
        if reason != "due" and walked is not None:
            self.bounds.learn(self.claim.query, rows if rows[0][0] is not None else (), walked)
        return rows

    async def _claimed(
        self, connection: Connection, *, is_wide: bool, bounds: Sequence[int] | None = None
    ) -> list[Any]:
        """Claim, and return the rows."""
        return await connection.run(*self._compile(is_wide, bounds))

    def _compile(self, is_wide: bool, bounds: Sequence[int] | None) -> tuple[str, Values]:
        """Return the text of the claim, and its values."""
        raise NotImplementedError

    async def _given(self, connection: Connection, rows: list[Any]) -> list[Any]:
        """Return what the statement gives for claimed rows."""
        raise NotImplementedError

    async def _undo(self, connection: Connection, row: Any) -> None:
        """Restore the previous values of a claimed row, unless it has changed since."""
        table, names = self.claim.query.table, [*self.claim.changes]
        changes = dict(zip(names, row[-_OTHERS - len(names) : -_OTHERS], strict=True))
        claimed = tuple(Condition(name, "=", row[table.positions[name]]) for name in (SEQUENCE, "version"))
        await connection.count(*self.compiler.update(Query(table, claimed), changes))


class ClaimAloneStatement(CommittingClaimStatement, eq=False, gc=False):
    """Claims for one caller; gives the records."""

    _compiled: Compiled | None = None
    """The claim from the front, by the server's clock: a worker repeats it."""

    def _compile(self, is_wide: bool, bounds: Sequence[int] | None) -> Compiled:
        if bounds is not None or is_wide or not is_system_clock():
            return self.compiler.claim_alone(self.claim, self.due, is_wide=is_wide, bounds=bounds)
        if self._compiled is None:
            self._compiled = self.compiler.claim_alone(self.claim, self.due, is_wide=False)
        return self._compiled

    async def _given(self, connection: Connection, rows: list[Any]) -> list[Any]:
        try:
            query = self.claim.query
            return [*map(codec_of(query.table.model).decode, sorted_rows(query, rows))]
        except UnreadableError:
            # It is committed, and the caller gets none of the rows.
            for row in rows:
                await self._undo(connection, row)
            raise


class ClaimTogetherStatement(CommittingClaimStatement, eq=False, gc=False):
    """Claims for several callers, as if they had claimed one after another.

    For each claim that got any rows, it gives its place and the records, or the error of one that cannot be read.
    """

    owners: Sequence[int]
    """For each row that is asked for, the claim that it belongs to."""
    changes: Sequence[Mapping[str, Change]]
    """For each row, how it is changed."""

    @classmethod
    def of(
        cls, compiler: ClaimCompiler, claims: Sequence[Claim[Any]], due: Query[Any] | None, bounds: LowerBounds
    ) -> Self:
        """Return the statement of several claims."""
        owners = [place for place, claim in enumerate(claims) for _ in range(claim.query.limit or 0)]
        return cls(compiler, claims[0], due, bounds, owners, [claims[owner].changes for owner in owners])

    def _compile(self, is_wide: bool, bounds: Sequence[int] | None) -> tuple[str, Values]:
        return self.compiler.claim_together(self.claim, self.changes, self.due, is_wide=is_wide, bounds=bounds)

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
    """Writes that do upkeep on rows and then claim some, as single statements that commit one by one."""

    def __init__(
        self, compiler: ClaimCompiler, bounds: LowerBounds, upkeep: Upkeep[Any], claims: Sequence[Claim[Any]]
    ) -> None:
        """Take one claim, or several of one `shape`."""
        self.kind = upkeep
        self.tables = {claims[0].query.table.name}
        self._compiler = compiler
        self._bounds = bounds
        self._claims = claims

    @classmethod
    def of(cls, compiler: ClaimCompiler, bounds: LowerBounds, steps: Sequence[Step]) -> "ClaimPlan | None":
        """Return the plan of a write, if it is such a claim of a versioned model: undoing a claim needs the version."""
        match steps:
            case [Upkeep() as upkeep, Claim() as claim] if claim.query.table.is_versioned:
                return cls(compiler, bounds, upkeep, (claim,))
        return None

    @classmethod
    def together(cls, plans: "Sequence[ClaimPlan]") -> "ClaimPlan":
        """Return the plan of several writes of one claim each, which gives what `ClaimTogetherStatement` gives."""
        first = plans[0]
        return cls(first._compiler, first._bounds, first.kind, [plan._claims[0] for plan in plans])

    @cached_property
    def shape(self) -> Hashable | None:
        """Return what claims must have in common to share a statement; `None` if this one cannot share."""
        claim = self._claims[0]
        query = claim.query
        if not query.limit or query.limit > _MOST_SHARED or query.offset:
            return None
        return self.kind, query.conditions, query.order, changes_shape(claim.changes), claim.unless

    @property
    def most(self) -> int:
        """Return how many rows are claimed at most; one without a limit counts as one."""
        return sum(claim.query.limit or 1 for claim in self._claims)

    @cached_property
    def unless_due(self) -> list[Statement]:
        """Return the claim statement that yields `None` if delayed rows are due."""
        return [self._claim_statement(self.kind.query)]

    @cached_property
    def claim(self) -> list[Statement]:
        """Return the claim statement that skips the check for due rows."""
        return [self._claim_statement(None)]

    @property
    def upkeep(self) -> list[Statement]:
        """Return what brings rows up to date."""
        upkeep = self.kind
        return [CountStatement(*self._compiler.upkeep(upkeep.query, upkeep.changes), upkeep.query.table)]

    def _claim_statement(self, due: Query[Any] | None) -> Statement:
        if len(self._claims) == 1:
            return ClaimAloneStatement(self._compiler, self._claims[0], due, self._bounds)
        return ClaimTogetherStatement.of(self._compiler, self._claims, due, self._bounds)

"""Runs the migrations of a schema, up and down: in one transaction if it is empty, else online."""

import time
from collections.abc import Awaitable, Callable, Sequence

import asyncpg
import msgspec

from swarm_persistence.engines.sql.postgres import online
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.failures import RetryDecision, retry_decision
from swarm_persistence.engines.sql.postgres.grants import become_owner, copy_grants, tables_of
from swarm_persistence.engines.sql.postgres.migration_lock import MigrationLock
from swarm_persistence.engines.sql.postgres.migrations.migration import (
    CreateIndex,
    DropIndex,
    FillRows,
    Group,
    PostgresMigration,
)
from swarm_persistence.engines.sql.postgres.online import fill_rows, in_short_transaction
from swarm_persistence.engines.sql.postgres.periods import PARTITIONABLE
from swarm_persistence.engines.sql.postgres.schema_log import FIRST_LOG, STEPS, SchemaLog, SchemaState
from swarm_persistence.errors import MigrationError, with_cause
from swarm_persistence.schema.tables import TASKS

Report = Callable[[str], None]


class Waits(msgspec.Struct, frozen=True):
    """How long to wait for locks, in seconds."""

    for_migration_lock: float
    """For the lock that another migrating process holds."""
    for_table_locks: float
    """For table locks that open transactions hold."""


class Move(msgspec.Struct, frozen=True):
    """A step to run, or the rest of one."""

    step: PostgresMigration
    is_upwards: bool
    first: int = 0
    """The index of the first group to run."""


class Migrator:
    """Runs the migrations of one schema."""

    def __init__(self, schema: str, log: SchemaLog, steps: Sequence[PostgresMigration], lock: MigrationLock) -> None:
        self._name = schema
        self._log = log
        self._steps = steps
        self._lock = lock

    async def migrate(self, connection: Connection, target: int, waits: Waits, report: Report) -> None:
        """Bring the schema to the target version.

        A schema that is empty, or becomes empty, is migrated in one transaction; otherwise each step is atomic.

        Raises:
            MigrationLockedError: another process is migrating the schema.
            MigrationError: the schema is newer than this code, or a step failed.
            asyncpg.PostgresError: the role lacks privileges, or the server is read-only.

        """
        state = await self._log.read(connection)
        if (not state.newest or not target) and await self._is_migrated_at_once(connection, target, waits, report):
            return
        async with self._lock.held(connection, waits.for_migration_lock):
            while moves := self.plan(await self._log.read(connection), target):
                await self._take(connection, moves[0], waits.for_table_locks, report)

    def plan(self, state: SchemaState, target: int) -> list[Move]:
        """Return the steps from a state to the target version, in order.

        Raises:
            MigrationError: the schema is newer than this code.

        """
        if state.newest > len(self._steps):
            raise MigrationError(
                f"the schema {self._name!r} has version {state.newest}, which this code does not know; upgrade "
                "swarm-persistence (the schema was left as it is)"
            )
        moves = []
        version = state.version
        if (half := state.interrupted) is not None:
            turns_back = half.is_upwards and half.version > target
            is_upwards = half.is_upwards and not turns_back
            moves.append(Move(self._steps[half.version - 1], is_upwards, 0 if turns_back else half.groups_done))
            version = half.version if is_upwards else half.version - 1
        moves += [Move(step, is_upwards=True) for step in self._steps[version:target]]
        return moves + [Move(step, is_upwards=False) for step in self._steps[target:version][::-1]]

    async def _is_migrated_at_once(self, connection: Connection, target: int, waits: Waits, report: Report) -> bool:
        """Take all steps in one transaction, unless another process has filled the schema meanwhile."""
        await self._lock.begin(connection, waits.for_migration_lock)
        try:
            state = await self._log.read(connection)
            if state.newest and target:
                await connection.roll_back()
                return False
            await self._log.prepare(connection)
            steps = self._steps[:target] if target else self._steps[: state.newest][::-1]
            for step in steps:
                await self._take_at_once(connection, step, is_upwards=target > 0)
            if not target:
                await self._log.empty(connection)
            await connection.commit()
        except BaseException:
            await connection.roll_back()
            raise
        for step in steps:
            report(_done(step, is_upwards=target > 0))
        return True

    async def _take_at_once(self, connection: Connection, step: PostgresMigration, *, is_upwards: bool) -> None:
        groups = step.groups(is_upwards=is_upwards)
        try:
            for group in groups:
                await self._run_in_transaction(connection, group)
        except asyncpg.PostgresError as error:
            failure = self._failure(connection, step, error, "the schema was left as it is", is_upwards=is_upwards)
            raise failure from failure.__cause__
        await self._log.record(connection, step, len(groups), is_upwards=is_upwards)

    async def _run_in_transaction(self, connection: Connection, group: Group) -> None:
        match group:
            case CreateIndex() | DropIndex():
                await connection.execute_watched(self._text(group.statement(is_online=False)))
            case FillRows():
                pass  # there are no rows
            case _:
                for statement in group:
                    await connection.execute_watched(self._text(statement))

    async def _take(self, connection: Connection, move: Move, retry_seconds: float, report: Report) -> None:
        step, is_upwards = move.step, move.is_upwards
        groups = step.groups(is_upwards=is_upwards)
        started = time.monotonic()
        for place in range(move.first, len(groups)):

            async def record(groups_done: int = place + 1) -> None:
                await self._log.record(connection, step, groups_done, is_upwards=is_upwards)

            try:
                await self._run_online(connection, groups[place], record, retry_seconds, report)
            except asyncpg.PostgresError as error:
                left = "it is half done, and goes on from there when it is tried again" if place else "nothing was done"
                failure = self._failure(connection, step, error, left, is_upwards=is_upwards)
                raise failure from failure.__cause__
        report(f"{_done(step, is_upwards=is_upwards)} in {time.monotonic() - started:.1f} s")

    async def _run_online(
        self,
        connection: Connection,
        group: Group,
        record: Callable[[], Awaitable[None]],
        retry_seconds: float,
        report: Report,
    ) -> None:
        async def run_and_record() -> None:
            # The log of the steps may be among the tables that are new, whatever the group is.
            await become_owner(connection, self._name, FIRST_LOG)
            before = await tables_of(connection, self._name)
            if isinstance(group, tuple):
                await self._run_in_transaction(connection, group)
            await record()
            for table in sorted(await tables_of(connection, self._name) - before):
                await copy_grants(connection, self._name, FIRST_LOG if table == STEPS else TASKS.name, table)

        match group:
            case CreateIndex():
                await build_index(connection, self._name, group, retry_seconds)
            case DropIndex():
                await drop_index(connection, self._name, group, retry_seconds)
            case FillRows():
                await fill_rows(connection, self._name, group, retry_seconds, report)
        await in_short_transaction(connection, run_and_record, retry_seconds)

    def _failure(
        self,
        connection: Connection,
        step: PostgresMigration,
        error: asyncpg.PostgresError,
        left: str,
        *,
        is_upwards: bool,
    ) -> Exception:
        is_about_the_role = isinstance(error, asyncpg.InsufficientPrivilegeError)
        if is_about_the_role or retry_decision(error, connection.is_closed) is not RetryDecision.FINAL:
            return error
        direction = "to" if is_upwards else "back from"
        is_locked = isinstance(error, asyncpg.LockNotAvailableError)
        why = "other transactions kept what it has to lock for too long" if is_locked else f"{error}"
        message = (
            f"{connection.server}: the step {direction} version {step.version} ({step.name}) of the schema "
            f"{self._name!r} failed: {why} ({left})"
        )
        return with_cause(MigrationError(message), error)

    def _text(self, text: str) -> str:
        return text.replace("{schema}", f'"{self._name}"')


def _done(step: PostgresMigration, *, is_upwards: bool) -> str:
    return f"{'took' if is_upwards else 'took back'} version {step.version} ({step.name})"


_IS_PARTITIONED = "SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass($1) AND relkind IN ('p', 'I'))"

_PARTITIONS = """
SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = to_regclass($1) ORDER BY 1
"""
_UNATTACHED = """
SELECT relname
FROM pg_inherits AS parts JOIN pg_class ON pg_class.oid = parts.inhrelid
WHERE parts.inhparent = to_regclass($1) AND NOT EXISTS (
  SELECT FROM pg_index JOIN pg_inherits AS attached ON attached.inhrelid = indexrelid
  WHERE indrelid = pg_class.oid AND attached.inhparent = to_regclass($2)
)
ORDER BY 1
"""

_GONE = (asyncpg.UndefinedTableError, asyncpg.UndefinedObjectError, asyncpg.InvalidObjectDefinitionError)
"""Errors that mean that a partition was detached or dropped meanwhile, or that a statement is wrong."""


async def build_index(connection: Connection, schema: str, index: CreateIndex, retry_seconds: float) -> None:
    """Build an index concurrently, unless a valid one exists; also on a partitioned table.

    PostgreSQL has no command for that. The index of a partitioned table is created for the table only, which takes no
    time. Each partition gets its own index concurrently, which is attached to it; with the last one, it becomes valid.
    A unique index would have to contain the partition key: so each partition has its own, and triggers of the table
    keep rows unique over all of them.

    Raises:
        asyncpg.PostgresError: a lock was not available within `retry_seconds`, or the statement failed.

    """
    table = f'"{schema}".{index.table}'
    if not (await connection.run(_IS_PARTITIONED, (table,)))[0][0]:
        await online.build_index(connection, schema, index, retry_seconds)
    elif index.is_unique:
        # A partition that is created meanwhile has the unique indexes of the one before.
        for part in await _names(connection, _PARTITIONS, table):
            await _build_for(connection, schema, index, part, retry_seconds)
    else:
        await _build_partitioned(connection, schema, index, retry_seconds)


async def drop_index(connection: Connection, schema: str, index: DropIndex, retry_seconds: float) -> None:
    """Drop an index concurrently, also one that an interrupted build has left."""
    whole = f'"{schema}".{index.name}'
    if (await connection.run(_IS_PARTITIONED, (whole,)))[0][0]:
        # PostgreSQL cannot drop it concurrently; with all tables locked, only the catalog changes.
        async def drop() -> None:
            await connection.execute(f"DROP INDEX IF EXISTS {whole}")

        await online.in_short_transaction(connection, drop, retry_seconds)
    else:
        await online.drop_index(connection, schema, index, retry_seconds)
    for table in sorted(PARTITIONABLE):
        if index.name.startswith(f"{table}_"):
            for part in await _names(connection, _PARTITIONS, f'"{schema}".{table}'):
                own = DropIndex(_name_for(part, table, index.name))
                await online.drop_index(connection, schema, own, retry_seconds)


async def _build_partitioned(connection: Connection, schema: str, index: CreateIndex, retry_seconds: float) -> None:
    table, whole = f'"{schema}".{index.table}', f'"{schema}".{index.name}'
    definition = index.definition.replace("ON ", "ON ONLY ", 1).replace("{schema}", f'"{schema}"')

    async def begin() -> None:
        await connection.execute(f"CREATE INDEX IF NOT EXISTS {index.name} {definition}")

    # From now on, each partition that is attached to the table gets this index.
    await online.in_short_transaction(connection, begin, retry_seconds)
    for part in await _names(connection, _UNATTACHED, table, whole):
        own = await _build_for(connection, schema, index, part, retry_seconds)
        if own is None:
            continue

        async def attach(own: str = own) -> None:
            await connection.execute(f'ALTER INDEX {whole} ATTACH PARTITION "{schema}".{own}')

        try:
            await online.in_short_transaction(connection, attach, retry_seconds)
        except _GONE:
            if part in await _names(connection, _PARTITIONS, table):
                raise


async def _build_for(
    connection: Connection, schema: str, index: CreateIndex, part: str, retry_seconds: float
) -> str | None:
    """Build the index of one partition, and return its name; `None` if the partition was dropped."""
    name = _name_for(part, index.table, index.name)
    definition = index.definition.replace(f"{{schema}}.{index.table}", f"{{schema}}.{part}", 1)
    try:
        await online.build_index(connection, schema, CreateIndex(name, definition, index.is_unique), retry_seconds)
    except _GONE:
        if part in await _names(connection, _PARTITIONS, f'"{schema}".{index.table}'):
            raise
        return None
    return name


def _name_for(part: str, table: str, index: str) -> str:
    return part + index.removeprefix(table)


async def _names(connection: Connection, text: str, *values: str) -> list[str]:
    return [str(row[0]) for row in await connection.run(text, values)]

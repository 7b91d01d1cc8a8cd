"""Describes the steps of a migration: their statements, and whether readers and writers can continue."""

from collections.abc import Sequence
from textwrap import dedent, indent
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from swarm_persistence.engines.sql.postgres.migrating import Move
    from swarm_persistence.engines.sql.postgres.migrations.migration import Group

_ONE_TRANSACTION = "in one transaction with the other steps"


class PlannedPart(msgspec.Struct, frozen=True):
    """Statements that run in the same mode."""

    manner: str
    statements: tuple[str, ...]


class PlannedStep(msgspec.Struct, frozen=True):
    """A step that would be applied or reverted."""

    version: int
    name: str
    is_upwards: bool
    opens_from: int
    parts: tuple[PlannedPart, ...]


def planned_on_server(current: int, moves: Sequence["Move"], schema: str) -> list[PlannedStep]:
    """Describe the steps from the version of a server's schema."""
    return [
        PlannedStep(
            version=move.step.version,
            name=move.step.name,
            is_upwards=move.is_upwards,
            opens_from=move.step.opens_from,
            parts=tuple(
                _part(group, schema, is_online=current > 0)
                for group in move.step.groups(is_upwards=move.is_upwards)[move.first :]
            ),
        )
        for move in moves
    ]


def planned_on_file(current: int, target: int) -> list[PlannedStep]:
    """Describe the steps of a file from one version to another."""
    from swarm_persistence.engines.sql.sqlite.migrations import MIGRATIONS

    is_upwards = target > current
    steps = MIGRATIONS[current:target] if is_upwards else MIGRATIONS[target:current][::-1]
    manner = f"{_ONE_TRANSACTION}, for which other writers wait"
    return [
        PlannedStep(
            version=step.version,
            name=step.name,
            is_upwards=is_upwards,
            opens_from=step.opens_from,
            parts=(PlannedPart(manner, step.up if is_upwards else step.down),),
        )
        for step in steps
    ]


def plan_record(name: str, current: int, target: int, steps: Sequence[PlannedStep]) -> dict[str, Any]:
    """Return what `--json` prints of a migration, planned or done."""
    return {"database": name, "from": current, "to": target, "steps": msgspec.to_builtins(steps)}


def print_plan(name: str, current: int, target: int, steps: Sequence[PlannedStep]) -> None:
    """Print the steps, in order."""
    print(f"{name}: version {current}; the target is {target}")
    for step in steps:
        print()
        print(f"{'to' if step.is_upwards else 'back from'} version {step.version}: {step.name}")
        if step.is_upwards:
            print(f"  code of version {step.opens_from} and newer works on it, and opens it")
        for part in step.parts:
            print(f"  {part.manner}:")
            for statement in part.statements:
                print(f"{indent(dedent(statement).strip(), '    ')};")
    print()
    print("nothing was changed" if steps else "there is nothing to do")


def _part(group: "Group", schema: str, *, is_online: bool) -> PlannedPart:
    from swarm_persistence.engines.sql.postgres.migrations.migration import CreateIndex, DropIndex, FillRows

    match group:
        case CreateIndex() | DropIndex():
            manner = "beside readers and writers" if is_online else _ONE_TRANSACTION
            texts: tuple[str, ...] = (group.statement(is_online=is_online),)
        case FillRows():
            manner = "in short writes beside readers and writers" if is_online else "not at all, as there are no rows"
            texts = (group.statement,)
        case _:
            manner = "in a transaction that waits for locks a moment at a time" if is_online else _ONE_TRANSACTION
            texts = group
    return PlannedPart(manner, tuple(text.replace("{schema}", f'"{schema}"') for text in texts))

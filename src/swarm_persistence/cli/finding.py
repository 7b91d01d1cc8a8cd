"""What an examination finds: a fact, how bad it is, and what to do."""

from enum import StrEnum

import msgspec


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    ADVICE = "advice"
    WRONG = "wrong"


class Finding(msgspec.Struct, frozen=True):
    """One fact about a database; the names are those of the JSON form."""

    check: str
    level: Level
    detail: str
    remedy: str | None = None
    """What to do; `None` if all is well."""


def ok(check: str, detail: str) -> Finding:
    """Return the finding that all is well."""
    return Finding(check, Level.OK, detail)


def advice(check: str, detail: str, remedy: str) -> Finding:
    """Return a finding that breaks nothing, and could be better."""
    return Finding(check, Level.ADVICE, detail, remedy)


def wrong(check: str, detail: str, remedy: str) -> Finding:
    """Return a finding that endangers data or work."""
    return Finding(check, Level.WRONG, detail, remedy)

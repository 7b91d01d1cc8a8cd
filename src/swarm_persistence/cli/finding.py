"""Findings of an examination: a fact, its severity, and the remedy."""

from enum import StrEnum

import msgspec


class Level(StrEnum):
    """The severity of a finding."""

    OK = "ok"
    ADVICE = "advice"
    WRONG = "wrong"


class Finding(msgspec.Struct, frozen=True):
    """One fact about a database; the names are those of the JSON form."""

    check: str
    level: Level
    detail: str
    remedy: str | None = None
    """The remedy; `None` if none is needed."""


def ok(check: str, detail: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(check, Level.OK, detail)


def advice(check: str, detail: str, remedy: str) -> Finding:
    """Return a warning about something that endangers neither data nor operation."""
    return Finding(check, Level.ADVICE, detail, remedy)


def wrong(check: str, detail: str, remedy: str) -> Finding:
    """Return a problem that endangers data or operation."""
    return Finding(check, Level.WRONG, detail, remedy)

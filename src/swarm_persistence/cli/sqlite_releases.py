"""The releases of SQLite that have a bug with a shared log."""

from swarm_persistence.cli.finding import Finding, advice, ok, wrong

Release = tuple[int, int, int]

_FIRST_WITH_LOG: Release = (3, 7, 0)
_FIRST_FIXED: Release = (3, 51, 3)
_FIXED_BRANCHES: tuple[Release, ...] = ((3, 50, 7), (3, 44, 6))
_BUG = "has the WAL-reset bug, which can damage a file that several connections write to and checkpoint"


def parse_release(text: str) -> Release:
    """Return a release as text: `3.51.3`."""
    major, minor, patch = (int(part) for part in text.split(".")[:3])
    return major, minor, patch


def has_wal_reset_bug(release: Release) -> bool:
    """Return whether this release has the bug: 3.7.0 to 3.51.2, except 3.50.7, 3.44.6 and their patch releases."""
    is_fixed = any(release[:2] == branch[:2] and release >= branch for branch in _FIXED_BRANCHES)
    return _FIRST_WITH_LOG <= release < _FIRST_FIXED and not is_fixed


def examine_releases(ours: str, of_python: str | None) -> list[Finding]:
    """Return the findings on the SQLite of apsw and on that of Python's `sqlite3`."""
    if has_wal_reset_bug(parse_release(ours)):
        own = wrong("SQLite", f"apsw brings SQLite {ours}, which {_BUG}", "pip install --upgrade 'apsw>=3.51.3'")
    else:
        own = ok("SQLite", f"apsw brings SQLite {ours}, without known bugs that concern this file")
    if of_python is None:
        return [own]
    if has_wal_reset_bug(parse_release(of_python)):
        # This library does not use that SQLite, so its bug does not affect this database.
        remedy = "let no program write to this file through Python's sqlite3; swarm-persistence uses apsw"
        return [own, advice("Python's sqlite3", f"is SQLite {of_python}, which {_BUG}", remedy)]
    return [own, ok("Python's sqlite3", f"is SQLite {of_python}")]

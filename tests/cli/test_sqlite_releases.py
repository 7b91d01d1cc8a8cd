"""Which releases of SQLite are said to have the WAL-reset bug."""

import pytest

from swarm_persistence.cli.finding import Level
from swarm_persistence.cli.sqlite_releases import examine_releases, has_wal_reset_bug, parse_release


@pytest.mark.parametrize("release", ["3.7.0", "3.40.1", "3.44.5", "3.45.0", "3.49.2", "3.50.6", "3.51.0", "3.51.2"])
def test_releases_with_the_bug(release: str) -> None:
    assert has_wal_reset_bug(parse_release(release))


@pytest.mark.parametrize("release", ["3.6.23", "3.44.6", "3.44.7", "3.50.7", "3.51.3", "3.52.0", "4.0.0"])
def test_releases_without_it(release: str) -> None:
    assert not has_wal_reset_bug(parse_release(release))


def test_the_bug_in_our_own_sqlite_is_wrong_and_in_pythons_a_piece_of_advice() -> None:
    own, of_python = examine_releases("3.50.4", "3.40.1")
    assert (own.level, of_python.level) == (Level.WRONG, Level.ADVICE)


def test_mended_releases_are_fine() -> None:
    assert [finding.level for finding in examine_releases("3.51.3", "3.50.7")] == [Level.OK, Level.OK]


def test_a_python_without_sqlite_is_fine() -> None:
    assert [finding.check for finding in examine_releases("3.51.3", None)] == ["SQLite"]

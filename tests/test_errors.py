"""Facts about the errors of the package, and about the copies that each of several callers gets."""

from collections.abc import Iterator

from swarm_persistence import errors
from swarm_persistence.engines.sql.postgres.failures import StaleSequenceError
from swarm_persistence.errors import UnreadableError, copy_error


def test_a_copy_of_an_error_tells_the_same_in_every_field() -> None:
    unreadable = UnreadableError("the row cannot be read back", id="task-1", sequence=7)
    unreadable.__cause__ = ValueError("damaged")
    stale = StaleSequenceError("the sequence is behind")
    stale.table = "events"
    copies = copy_error(unreadable), copy_error(stale)

    assert [type(copy) for copy in copies] == [UnreadableError, StaleSequenceError]
    assert [vars(copy) for copy in copies] == [vars(unreadable), vars(stale)]
    assert copies[0].__cause__ is unreadable.__cause__


def test_a_copy_has_no_part_in_the_traceback_of_its_original() -> None:
    error = UnreadableError("the row cannot be read back")
    copy = copy_error(error)
    try:
        raise error
    except UnreadableError:
        pass

    assert error.__traceback__ is not None
    assert copy.__traceback__ is None


def test_an_error_that_is_not_ours_is_not_copied() -> None:
    error = KeyError("name")

    assert copy_error(error) is error


def kinds_of(kind: type[errors.StorageError]) -> Iterator[type[errors.StorageError]]:
    yield kind
    for narrower in kind.__subclasses__():
        if narrower.__module__ == errors.__name__:
            yield from kinds_of(narrower)


def test_the_text_of_each_error_begins_with_its_own_kind() -> None:
    prefixes = [kind.prefix for kind in kinds_of(errors.StorageError)]

    assert len(set(prefixes)) == len(prefixes)
    assert {kind.prefix for kind in errors.StorageError.__subclasses__()} == {
        "Database error",
        "Serialization error",
        "Not found",
        "Transaction error",
        "Migration error",
        "Connection pool error",
        "Other error",
    }
    assert str(errors.LeaseLostError("the claim is over")) == "Lease lost: the claim is over"

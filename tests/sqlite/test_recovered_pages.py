"""How recovery reads pages: what SQLite has written as SQLite reads it, and nothing that cannot be true."""

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from swarm_persistence.engines.sql.sqlite.recovery.cells import (
    INDEX_LEAF,
    TABLE_LEAF,
    DamageError,
    free_pages,
    parse_page,
    parse_record,
)
from swarm_persistence.engines.sql.sqlite.recovery.pages import Pages, pages_of

SIZES = (512, 1024, 4096, 8192, 65536)
ROWIDS = (-(2**63), -1, 0, 1, 127, 128, 2**14, 2**28 - 1, 2**31, 2**48, 2**56 - 1, 2**62, 2**63 - 1)
INTEGERS = [sign * 2**power + step for power in (7, 8, 15, 16, 23, 31, 47, 62) for sign in (1, -1) for step in (-1, 0)]
VALUES: list[Any] = [None, 0, 1, *INTEGERS, 0.5, -1e300, "", "é" * 30, b"", b"\0\xff" * 9, "x" * 63, "x" * 64]


@pytest.fixture(params=SIZES)
def page_size(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.db"


def write(path: Path, page_size: int, rows: list[tuple[int, Any]]) -> None:
    """Store rows in a table and an index of it."""
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute(f"PRAGMA page_size = {page_size}").fetchall()
        connection.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, value); CREATE INDEX i ON rows (value)")
        with connection:
            connection.executemany("INSERT INTO rows VALUES (?, ?)", rows)


def as_stored(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else bytes(value) if isinstance(value, memoryview) else value


def read(pages: Pages, kind: int) -> Iterator[tuple[int, list[Any]]]:
    """Yield the rows of all pages of a kind, but for the first page, which holds the schema."""
    for number in range(2, pages.count + 1):
        if pages.read(number)[0] == kind:
            page = parse_page(pages, number, kind)
            assert page.damaged_cells == ()
            for cell in page.cells:
                yield cell.rowid, [as_stored(value) for value in parse_record(cell.payload or b"")]


def test_every_value_is_read_as_it_was_stored(path: Path, page_size: int) -> None:
    # Each length at which a page keeps all of a value, its end goes on elsewhere, or fills one page more.
    lengths = {whole * (page_size - 4) + page_size + extra for whole in (0, 1, 2) for extra in range(-42, -28)}
    values = [*VALUES, *("v" * length for length in sorted(lengths))]
    rows = list(zip([*ROWIDS, *range(1000, 2000)], values, strict=False))
    write(path, page_size, rows)

    with pages_of(path) as ((pages,), _):
        found = dict(read(pages, TABLE_LEAF))
        indexed = [record for _, record in read(pages, INDEX_LEAF)]

    assert pages.page_size == page_size
    assert found == {number: [None, as_stored(value)] for number, value in rows}
    # The interior pages of the index hold rows as well.
    assert {number for _, number in indexed} <= {number for number, _ in rows}
    assert all(as_stored(dict(rows)[number]) == value for value, number in indexed)


def test_the_header_tells_the_size_of_pages_where_no_other_page_shows_it(path: Path, page_size: int) -> None:
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute(f"PRAGMA page_size = {page_size}; PRAGMA user_version = 1").fetchall()

    with pages_of(path) as ((pages,), _):
        assert (pages.page_size, pages.count) == (page_size, 1)


@pytest.mark.parametrize("size", [10, 100, 5_000])
def test_the_size_of_pages_shows_without_the_header(path: Path, page_size: int, size: int) -> None:
    # Of 5,000 bytes, most pages hold a part of a value, and begin as no page of a tree.
    write(path, page_size, [(number, "x" * size) for number in range(200 * page_size // 512)])
    with path.open("r+b") as file:
        file.write(bytes(100))

    with pages_of(path) as ((pages,), _):
        assert pages.page_size == page_size
        assert not pages.has_header


@pytest.mark.parametrize("stated", [0, 2, 256, 511, 513, 4097, 32769, 65535])
def test_no_impossible_size_of_pages_is_believed(path: Path, stated: int) -> None:
    write(path, 8192, [(number, "x" * 100) for number in range(5000)])
    with path.open("r+b") as file:
        file.seek(16)
        file.write(stated.to_bytes(2))

    with pages_of(path) as ((pages,), _):
        assert pages.page_size == 8192


@pytest.mark.parametrize("count", [1, 100])
def test_a_record_may_have_so_many_columns(count: int) -> None:
    assert parse_record(bytes([count + 1, *[9] * count])) == [1] * count


@pytest.mark.parametrize(
    ("payload", "defect"),
    [
        (bytes([102, *[9] * 101]), "damaged header"),
        (bytes([2, 10]), "value of no kind"),
        (bytes([2, 11]), "value of no kind"),
        (bytes([2, 1]), "ends too early"),
        (bytes([2, 7, *[0] * 7]), "ends too early"),
        (bytes([3, 9]), "ends too early"),
        (bytes([2, 0x81, 0x01]), "damaged header"),
        (b"", "ends too early"),
        (bytes([2, 9, 0]), "longer than its values"),
        (bytes([2, 13, 65]), "longer than its values"),
    ],
)
def test_what_cannot_be_a_record_is_refused(payload: bytes, defect: str) -> None:
    with pytest.raises(DamageError, match=defect):
        parse_record(payload)


@pytest.fixture
def freed(path: Path) -> set[int]:
    """Return the numbers of the free pages of a file that has so many that one page cannot list them."""
    write(path, 512, [(number, random.Random(number).randbytes(400)) for number in range(400)])
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("DELETE FROM rows").fetchall()
        count = connection.pragma("freelist_count")
        used = {row[0] for row in connection.execute("SELECT rootpage FROM sqlite_schema")} | {1}
        assert count > 300
        return set(range(1, connection.pragma("page_count") + 1)) - used


def first_trunk(path: Path) -> int:
    return int.from_bytes(path.read_bytes()[32:36])


def change(path: Path, offset: int, number: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(number.to_bytes(4))


def test_all_free_pages_are_known(path: Path, freed: set[int]) -> None:
    with pages_of(path) as ((pages,), _):
        assert free_pages(pages) == freed


@pytest.mark.parametrize("wrong", [0, 1, 2**31])
def test_a_list_of_free_pages_is_believed_up_to_a_page_that_cannot_be(path: Path, freed: set[int], wrong: int) -> None:
    trunk = first_trunk(path)
    change(path, (trunk - 1) * 512 + 8, wrong)

    with pages_of(path) as ((pages,), _):
        assert free_pages(pages) == {trunk}


def test_a_list_of_more_free_pages_than_its_page_has_room_for_is_not_believed(path: Path, freed: set[int]) -> None:
    trunk = first_trunk(path)
    change(path, (trunk - 1) * 512 + 4, 512 // 4 - 1)

    with pages_of(path) as ((pages,), _):
        assert free_pages(pages) == {trunk}


def test_a_list_of_free_pages_that_leads_to_itself_ends(path: Path, freed: set[int]) -> None:
    trunk = first_trunk(path)
    change(path, (trunk - 1) * 512, trunk)

    with pages_of(path) as ((pages,), _):
        assert trunk in free_pages(pages) < freed


@pytest.fixture
def chain(path: Path) -> tuple[int, int]:
    """Return the number of a leaf, and of the first page on which the value of its only row goes on, in three pages."""
    write(path, 512, [(1, b"v" * 1200)])
    with pages_of(path) as ((pages,), _):
        leaf = next(number for number in range(2, pages.count + 1) if pages.read(number)[0] == TABLE_LEAF)
        (cell,) = parse_page(pages, leaf, TABLE_LEAF).cells
        assert parse_record(cell.payload or b"")[1] == b"v" * 1200
        return leaf, int.from_bytes(pages.read(leaf)[-4:])


@pytest.mark.parametrize("wrong", [0, 1, 2**20])
def test_a_value_that_goes_on_in_no_page_is_damaged(path: Path, chain: tuple[int, int], wrong: int) -> None:
    leaf, following = chain
    change(path, (following - 1) * 512, wrong)

    with pages_of(path) as ((pages,), _), pytest.raises(DamageError, match=f"goes on in page {wrong}, which is not"):
        parse_page(pages, leaf, TABLE_LEAF)


def test_a_value_that_goes_on_in_itself_is_read_to_its_end(path: Path, chain: tuple[int, int]) -> None:
    leaf, following = chain
    change(path, (following - 1) * 512, following)

    with pages_of(path) as ((pages,), _):
        (cell,) = parse_page(pages, leaf, TABLE_LEAF).cells

    assert len(cell.payload or b"") == 1200 + 4  # the header of the record


def test_a_page_that_cannot_hold_its_cells_is_damaged(path: Path) -> None:
    write(path, 512, [(1, 1)])
    with pages_of(path) as ((pages,), _):
        leaf = next(number for number in range(2, pages.count + 1) if pages.read(number)[0] == TABLE_LEAF)
    with path.open("r+b") as file:
        file.seek((leaf - 1) * 512 + 3)
        file.write((253).to_bytes(2))

    with pages_of(path) as ((pages,), _), pytest.raises(DamageError, match="cannot hold 253 cells"):
        parse_page(pages, leaf, TABLE_LEAF)

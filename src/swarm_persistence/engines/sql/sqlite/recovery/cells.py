"""Parses the pages of b-trees and the records in them, by SQLite's file format: https://sqlite.org/fileformat.html."""

import struct
from collections.abc import Iterator
from itertools import pairwise

import msgspec

from swarm_persistence.engines.sql.sqlite.recovery.pages import Pages

INDEX_INTERIOR, TABLE_INTERIOR, INDEX_LEAF, TABLE_LEAF = 2, 5, 10, 13

Value = None | int | float | bytes | memoryview
"""A value as stored: a text is `bytes`, supposedly UTF-8; a blob is a `memoryview`."""

_INTEGER_SIZES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_MOST_COLUMNS = 100
_LARGEST_PAYLOAD = 1_000_000_000


class DamageError(Exception):
    """A page or a cell is damaged."""


class Cell(msgspec.Struct, frozen=True):
    """The content of a tree's cell, as far as its kind of page has it."""

    child: int = 0
    rowid: int = 0
    """In a table's interior page, the highest of the child."""
    payload: bytes | None = None
    is_out_of_order: bool = False
    """Whether the rowid is out of order between those of its neighbours."""


class BTreePage(msgspec.Struct, frozen=True):
    """A page of a B-tree."""

    kind: int
    cells: tuple[Cell, ...]
    last_child: int
    damaged_cells: tuple[str, ...]
    """The defects of the cells that could not be read."""


def parse_page(pages: Pages, number: int, *kinds: int) -> BTreePage:
    """Return a tree page of one of these kinds; of damaged cells, only their defects.

    Raises:
        DamageError: the page is not such a page.

    """
    data = pages.read(number)
    start = 100 if number == 1 else 0
    if len(data) < pages.page_size or data[start] not in kinds:
        raise DamageError(f"page {number} is {'damaged' if data else 'missing'}")
    kind = data[start]
    is_leaf = kind in (INDEX_LEAF, TABLE_LEAF)
    header_size = start + (8 if is_leaf else 12)
    count = int.from_bytes(data[start + 3 : start + 5])
    if header_size + 2 * count > pages.usable:
        raise DamageError(f"page {number} is damaged: it cannot hold {count} cells")
    cells, damaged = [], []
    pointers = header_size + 2 * count
    # Masked as SQLite does it: a damaged high bit does no harm.
    mask = pages.page_size - 1
    offsets = [offset & mask for (offset,) in struct.iter_unpack(">H", data[header_size:pointers])]
    ends = dict(pairwise([*sorted({*offsets}), pages.usable]))
    for offset in offsets:
        try:
            if not pointers <= offset < pages.usable:
                raise DamageError("a cell outside of the page")
            cells.append(_parse_cell(pages, data[: pages.usable], offset, ends[offset], kind))
        except (DamageError, IndexError) as error:
            damaged.append(str(error))
    if count and not cells:
        raise DamageError(f"page {number} is damaged: {damaged[0]}")
    if kind == TABLE_LEAF:
        pages.verify(number)
    last_child = 0 if is_leaf else int.from_bytes(data[start + 8 : start + 12])
    return BTreePage(kind, tuple(_marked(cells) if kind == TABLE_LEAF else cells), last_child, tuple(damaged))


def parse_record(payload: bytes) -> list[Value]:
    """Return the values of a record.

    Raises:
        DamageError: the bytes are not a record.

    """
    try:
        header_size, place = _varint(payload, 0)
        kinds = []
        while place < header_size:
            kind, place = _varint(payload, place)
            kinds.append(kind)
    except IndexError:
        raise DamageError("a record that ends too early") from None
    if place != header_size or len(kinds) > _MOST_COLUMNS:
        raise DamageError("a record with a damaged header")
    values = []
    for kind in kinds:
        size = _size_of(kind)
        if place + size > len(payload):
            raise DamageError("a record that ends too early")
        values.append(_value(kind, payload[place : place + size]))
        place += size
    if place != len(payload):
        raise DamageError("a record that is longer than its values")
    return values


def free_pages(pages: Pages) -> set[int]:
    """Return the numbers of the pages that are free, as far as their list can be read."""
    free: set[int] = set()
    header = pages.read(1)
    trunk = int.from_bytes(header[32:36]) if pages.has_header else 0
    while 1 < trunk <= pages.count and trunk not in free:
        free.add(trunk)
        data = pages.read(trunk)
        trunk, count = int.from_bytes(data[:4]), int.from_bytes(data[4:8])
        if count > pages.usable // 4 - 2:
            break
        leaves = [number for (number,) in struct.iter_unpack(">I", data[8 : 8 + 4 * count])]
        if any(not 1 < number <= pages.count for number in leaves):
            break
        free.update(leaves)
    return free


def _marked(cells: list[Cell]) -> list[Cell]:
    """Mark the rows whose rowids do not increase."""
    marked = []
    for place, cell in enumerate(cells):
        before, after = cells[max(place - 1, 0)].rowid, cells[min(place + 1, len(cells) - 1)].rowid
        is_in_order = (place == 0 or before < cell.rowid) and (place == len(cells) - 1 or cell.rowid < after)
        marked.append(cell if is_in_order else msgspec.structs.replace(cell, is_out_of_order=True))
    return marked


def _parse_cell(pages: Pages, data: bytes, place: int, end: int, kind: int) -> Cell:
    child = rowid = 0
    if kind in (INDEX_INTERIOR, TABLE_INTERIOR):
        child = int.from_bytes(data[place : place + 4])
        place += 4
        if not 1 < child <= pages.count:
            raise DamageError("a child outside of the file")
    if kind == TABLE_INTERIOR:
        return Cell(child, _signed(_varint(data, place)[0]))
    size, place = _varint(data, place)
    if kind == TABLE_LEAF:
        rowid, place = _varint(data, place)
    stated = _length_of_record(data, place)
    if stated not in (None, size) and place + stated == end:
        size = stated  # the cell's own size is damaged, not the header of its record: the next cell begins at its end
    return Cell(child, _signed(rowid), b"".join(_payload(pages, data, place, size, kind)))


def _length_of_record(data: bytes, place: int) -> int | None:
    """Return the length of a record by its header; `None` if that is damaged, or does not end on this page."""
    try:
        length, position = _varint(data, place)
        end = place + length
        while position < end:
            kind, position = _varint(data, position)
            length += _size_of(kind)
    except (IndexError, DamageError):
        return None
    return length if position == end else None


def _payload(pages: Pages, data: bytes, place: int, size: int, kind: int) -> Iterator[bytes]:
    """Yield the parts of a payload: the one on this page, and those on the overflow pages that follow."""
    usable = pages.usable
    most = usable - 35 if kind == TABLE_LEAF else (usable - 12) * 64 // 255 - 23
    if size > _LARGEST_PAYLOAD:
        raise DamageError("a cell that is too large")
    local = size
    if size > most:
        least = (usable - 12) * 32 // 255 - 23
        local = least + (size - least) % (usable - 4)
        local = local if local <= most else least
    if place + local + (4 if size > most else 0) > usable:
        raise DamageError("a cell that is longer than its page")
    yield data[place : place + local]
    rest, following = size - local, int.from_bytes(data[place + local : place + local + 4])
    while rest:
        # The count of pages bounds a chain that leads to itself: each takes something off the rest.
        page = pages.read(following) if 1 < following <= pages.count else b""
        if not page or rest > pages.count * usable:
            raise DamageError(f"a value goes on in page {following}, which is not there")
        if kind == TABLE_LEAF:
            pages.verify(following)
        part = page[4 : 4 + min(rest, usable - 4)]
        yield part
        rest, following = rest - len(part), int.from_bytes(page[:4])


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Return a number of variable length and the place after it."""
    number = 0
    for position in range(place, place + 8):
        byte = data[position]
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number, position + 1
    return number << 8 | data[place + 8], place + 9


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number


def _size_of(kind: int) -> int:
    if kind >= 12:
        return (kind - 12) // 2
    if kind in (10, 11):
        raise DamageError("a record with a value of no kind")
    return _INTEGER_SIZES.get(kind, 8 if kind == 7 else 0)


def _value(kind: int, data: bytes) -> Value:
    if kind == 0:
        return None
    if kind in _INTEGER_SIZES:
        return int.from_bytes(data, signed=True)
    if kind == 7:
        (number,) = struct.unpack(">d", data)
        return float(number)
    if kind in (8, 9):
        return kind - 8
    return data if kind % 2 else memoryview(data)

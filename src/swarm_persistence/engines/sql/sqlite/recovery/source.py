"""Finds the rows of each table in one state of a damaged file: along its tree, or on all pages if that is broken."""

from collections.abc import Callable, Iterator, Mapping, Set

import msgspec

from swarm_persistence.engines.sql.sqlite.recovery.cells import (
    INDEX_INTERIOR,
    INDEX_LEAF,
    TABLE_INTERIOR,
    TABLE_LEAF,
    BTreePage,
    Cell,
    DamageError,
    Value,
    free_pages,
    parse_page,
    parse_record,
)
from swarm_persistence.engines.sql.sqlite.recovery.pages import Pages
from swarm_persistence.engines.sql.sqlite.recovery.shapes import SCHEMA, Shape

_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


class Gap(msgspec.Struct, frozen=True):
    """A part of a tree that could not be read."""

    reason: str
    after: int = _LOWEST
    """The rowids of a table's gap lie after this one, …"""
    last: int = _HIGHEST
    """… and this is the last one."""


class Tree:
    """Yields the cells of a tree, and records its pages and its unreadable parts."""

    def __init__(self, pages: Pages, claimed: set[int], is_believable: Callable[[BTreePage], bool] = lambda page: True):
        """`claimed` are pages that do not belong to this tree, since they belong to another one or are free."""
        self._pages = pages
        self._claimed = claimed
        self._is_believable = is_believable
        self.gaps: list[Gap] = []
        self.highest = 0
        """The highest rowid that a page of the tree names."""

    def table(self, root: int) -> Iterator[Cell]:
        """Yield the rows of a table."""
        waiting = [(root, _LOWEST, _HIGHEST)]
        while waiting:
            number, after, last = waiting.pop()
            page = self._page(number, TABLE_INTERIOR, TABLE_LEAF, after=after, last=last)
            if page is None:
                continue
            if page.kind == TABLE_LEAF:
                self.highest = max(self.highest, *(cell.rowid for cell in page.cells), 0)
                yield from page.cells
                continue
            children, begin = [], after
            for cell in page.cells:
                children.append((cell.child, begin, cell.rowid))
                begin = cell.rowid
            self.highest = max(self.highest, begin)
            waiting += reversed([*children, (page.last_child, begin, last)])

    def index(self, root: int) -> Iterator[Cell]:
        """Yield the entries of an index, in no order."""
        waiting = [root]
        while waiting:
            page = self._page(waiting.pop(), INDEX_INTERIOR, INDEX_LEAF)
            if page is None:
                continue
            yield from page.cells
            if page.kind == INDEX_INTERIOR:
                waiting += [cell.child for cell in page.cells] + [page.last_child]

    def _page(self, number: int, *kinds: int, after: int = _LOWEST, last: int = _HIGHEST) -> BTreePage | None:
        if number in self._claimed:
            self.gaps.append(Gap(f"a damaged page leads to page {number}, which belongs elsewhere", after, last))
            return None
        try:
            page = parse_page(self._pages, number, *kinds)
        except DamageError as error:
            self.gaps.append(Gap(str(error), after, last))
            return None
        if not self._is_believable(page):
            self.gaps.append(Gap(f"page {number} holds rows of another kind", after, last))
            return None
        self._claimed.add(number)
        self.gaps += [Gap(f"page {number}: {reason}", after, last) for reason in page.damaged_cells]
        return page


def orphans(pages: Pages, claimed: set[int]) -> Iterator[tuple[int, BTreePage]]:
    """Yield the pages of rows that no tree leads to, and that are not known to be free."""
    for number in range(1, pages.count + 1):
        if number in claimed:
            continue
        try:
            yield number, parse_page(pages, number, TABLE_LEAF)
        except DamageError:
            continue


class FoundRow(msgspec.Struct, frozen=True):
    """A row, or the readable part of one."""

    rowid: int
    values: list[Value]
    reason: str | None = None
    """Why it is not a row of its table; `None` if it is one."""
    is_misnumbered: bool = False
    """Whether its rowid may be damaged."""

    def with_values(self, shape: Shape, values: Mapping[int, Value]) -> "FoundRow":
        """Return the row with other values in some positions."""
        size = max(len(self.values), *(position + 1 for position in values))
        all_values = [*self.values, *[None] * (size - len(self.values))]
        for position, value in values.items():
            all_values[position] = value
        reason = None if shape.matches(all_values) else self.reason or f"it is not a row of {shape.table}"
        return FoundRow(self.rowid, all_values, reason, self.is_misnumbered)


class Evidence(msgspec.Struct, frozen=True):
    """What an index tells about the existing rows."""

    rows: dict[int, str]
    """The ids by their rowids."""
    is_complete: bool

    def denies(self, rowid: int) -> bool:
        """Tell whether such a row certainly does not exist."""
        return self.is_complete and rowid not in self.rows


class RecoverySource:
    """One state of the file."""

    def __init__(self, pages: Pages, shapes: Mapping[str, Shape]) -> None:
        self._pages = pages
        self._shapes = shapes
        self._free = free_pages(pages)
        self._claimed = set(self._free)
        self._roots: dict[str, int] = {}
        self.gaps: dict[str, list[Gap]] = {}
        """The unreadable parts of each table that was read."""
        self.highest: dict[str, int] = {}
        """The highest rowid that the pages of each table name."""
        self._find_roots()

    def rows(self, shape: Shape) -> Iterator[FoundRow]:
        """Yield the rows to which the table's tree leads."""
        tree = Tree(self._pages, self._claimed, lambda page: _is_believable(page, shape))
        root = self._roots.get(shape.table)
        if root is None:
            tree.gaps += [Gap("the schema that names its place is damaged")] if self.gaps[SCHEMA] else []
        else:
            for cell in tree.table(root):
                if (row := _row(cell, shape)) is not None:
                    yield row
                else:
                    tree.gaps.append(Gap(f"a record is damaged whose rowid reads as {cell.rowid}"))
        self.gaps[shape.table] = tree.gaps
        self.highest[shape.table] = tree.highest

    def orphans(self, wanted: Mapping[str, Shape]) -> Iterator[tuple[Shape, FoundRow]]:
        """Yield the rows of the wanted tables that no tree leads to; call it after reading all tables by tree."""
        for number, page in orphans(self._pages, self._claimed):
            rows = {name: _rows_of(page, shape) for name, shape in wanted.items()}
            name = max(rows, key=lambda each: len(rows[each]), default=None)
            if name is None or not rows[name]:
                continue
            self._claimed.add(number)
            for row in rows[name]:
                if any(gap.after < row.rowid <= gap.last for gap in self.gaps[name]):
                    yield wanted[name], row

    def evidence(self, shape: Shape) -> Evidence:
        """Return what the index of the table's ids says."""
        root = self._roots.get(shape.id_index)
        if root is None:
            return Evidence({}, False)
        tree = Tree(self._pages, set(self._free))
        rows: dict[int, str] = {}
        is_complete = True
        for cell in tree.index(root):
            match _values(cell):
                case [bytes() as id, int() as rowid] if _is_text(id):
                    rows[rowid] = id.decode()
                case _:
                    is_complete = False
        return Evidence(rows, is_complete and not tree.gaps)

    def from_indexes(self, shape: Shape, rowids: Set[int]) -> dict[int, dict[int, Value]]:
        """Return what the indexes of a table hold of these rows: values by their positions in the row."""
        found: dict[int, dict[int, Value]] = {rowid: {} for rowid in rowids}
        for name, positions in shape.indexes.items() if rowids else ():
            root = self._roots.get(name)
            for cell in Tree(self._pages, set(self._free)).index(root) if root is not None else ():
                values = _values(cell) or [None]
                rowid = values.pop()
                if isinstance(rowid, int) and rowid in found and len(values) == len(positions):
                    pairs = zip(positions, values, strict=True)
                    found[rowid] |= {position: value for position, value in pairs if position >= 0}
        return found

    def lacks(self, table: str) -> bool:
        """Tell whether the schema is readable and lacks the table, so that the file is of an older version."""
        return not self.gaps[SCHEMA] and table not in self._roots

    @property
    def knows_free_pages(self) -> bool:
        """Whether the pages of deleted rows can be distinguished from others."""
        return self._pages.has_header

    def _find_roots(self) -> None:
        shape = self._shapes[SCHEMA]
        self.gaps[SCHEMA] = []
        self._roots[SCHEMA] = 1
        found = list(self.rows(shape))
        if self.gaps[SCHEMA]:
            found += [row for _, row in self.orphans({SCHEMA: shape})]
        for row in found:
            match row.values:
                case [bytes(), bytes() as name, bytes(), int() as root, *_] if row.reason is None and root > 1:
                    self._roots.setdefault(name.decode(errors="replace"), root)


def _is_text(data: bytes) -> bool:
    """Tell whether bytes are valid text for a record."""
    try:
        return "\0" not in data.decode()
    except UnicodeDecodeError:
        return False


def _is_believable(page: BTreePage, shape: Shape) -> bool:
    """Tell whether a page may belong to the table: at least one of its rows has the table's shape."""
    return page.kind != TABLE_LEAF or not page.cells or bool(_rows_of(page, shape))


def _rows_of(page: BTreePage, shape: Shape) -> list[FoundRow]:
    """Return the page's rows of the table's shape."""
    rows = (_row(cell, shape) for cell in page.cells)
    return [row for row in rows if row is not None and row.reason is None]


def _row(cell: Cell, shape: Shape) -> FoundRow | None:
    """Return a row of any shape; `None` if its record is damaged."""
    values = _values(cell)
    if values is None:
        return None
    reason = None if shape.matches(values) else f"it is not a row of {shape.table}"
    return FoundRow(cell.rowid, values, reason, cell.is_out_of_order)


def _values(cell: Cell) -> list[Value] | None:
    try:
        return parse_record(cell.payload or b"")
    except DamageError:
        return None

"""Walks the trees of a damaged file and goes on where a page cannot be read."""

from collections.abc import Callable, Iterator

import msgspec

from swarm_persistence.engines.sql.sqlite.recovery.cells import (
    INDEX_INTERIOR,
    INDEX_LEAF,
    TABLE_INTERIOR,
    TABLE_LEAF,
    BTreePage,
    Cell,
    DamageError,
    parse_page,
)
from swarm_persistence.engines.sql.sqlite.recovery.pages import Pages

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

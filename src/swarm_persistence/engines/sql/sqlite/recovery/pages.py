"""The pages of a damaged database as they stand in its file and its log."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from struct import Struct as Layout
from struct import unpack, unpack_from

from swarm_persistence.engines.sql.sqlite.log import Frame, Log, checksum, read_log
from swarm_persistence.engines.sql.sqlite.raw_file import MAGIC, RawFile, companions, size_of
from swarm_persistence.engines.sql.sqlite.read_only import rolled_back

_USUAL_PAGE_SIZE = 4096
_LARGEST_PAGE = 65536
_PAGES_LOOKED_AT = 200
_CHECKSUM_BYTES = 8
# https://sqlite.org/fileformat.html#b_tree_pages
_TREE_PAGES = frozenset({2, 5, 10, 13})
_INTERIOR_PAGES = frozenset({2, 5})
_TREE_HEADER = Layout(">BHHHB")


class Pages:
    """Reads pages by their numbers, from 1 on."""

    def __init__(self, file: RawFile | None, log_file: RawFile | None, page_size: int, frames: tuple[Frame, ...]):
        self._file = file
        self._log_file = log_file
        self._offsets = {frame.page: frame.offset for frame in frames if frame.is_sound}
        self.page_size = page_size
        in_file = -(-file.size // page_size) if file is not None else 0
        ends = [frame.pages_after_commit for frame in frames if frame.pages_after_commit]
        self.count = ends[-1] if ends else in_file
        has_checksums = self._has_checksums()
        reserved = self.read(1)[20] if self.has_header else _CHECKSUM_BYTES * has_checksums
        self.usable = page_size - reserved
        """The bytes of a page that hold content."""
        self._is_verified = has_checksums and reserved == _CHECKSUM_BYTES
        self.wrong: set[int] = set()
        """The verified pages whose checksum is wrong."""

    @property
    def has_header(self) -> bool:
        """Whether the first page begins as that of a database does."""
        return self.read(1).startswith(MAGIC)

    def _has_checksums(self) -> bool:
        """Tell from the pages themselves whether they end with checksums, as pages written by a checkpoint do."""
        numbers = range(2, min(self.count, _PAGES_LOOKED_AT) + 1)
        return any(_is_right(data) for number in numbers if any(data := self.read(number)))

    def verify(self, number: int) -> None:
        """Remember a page whose checksum is wrong, if the file keeps checksums; frames of the log have their own."""
        if self._is_verified and number not in self._offsets and not _is_right(self.read(number)):
            self.wrong.add(number)

    def read(self, number: int) -> bytes:
        """Return a page, padded with zeros if the file ends within it; empty if it is missing."""
        offset = self._offsets.get(number)
        if offset is not None and self._log_file is not None:
            return self._log_file.read(offset, self.page_size)
        if self._file is None or number < 1:
            return b""
        data = self._file.read((number - 1) * self.page_size, self.page_size)
        return data.ljust(self.page_size, b"\0") if data else b""


@contextmanager
def pages_of(path: Path, *, with_log: bool = True) -> Iterator[tuple[list[Pages], Log | None]]:
    """Yield the states in which the pages can be read, the most complete first, and the log.

    That is one state, unless a damaged frame hides commits of the log from SQLite: then there is one with them, and one
    without. A write that was interrupted in rollback mode is undone, in a copy.
    """
    log_path, _, journal = companions(path)
    with ExitStack() as stack:
        real = stack.enter_context(rolled_back(path, journal)) if size_of(journal) else path.resolve()
        file = stack.enter_context(RawFile(real)) if size_of(real) else None
        page_size = _page_size(file) if file is not None else 0
        log = read_log(log_path, page_size or _guess(file)) if with_log else None
        log_file = stack.enter_context(RawFile(log_path)) if log is not None else None
        page_size = page_size or (log.page_size if log is not None else _guess(file))
        if log is None or log.page_size != page_size:
            yield [Pages(file, None, page_size, ())], log
            return
        views = [log.applied()]
        if dropped := log.dropped():
            views.insert(0, log.applied() + dropped)
        yield [Pages(file, log_file, page_size, frames) for frames in views], log


def _is_right(data: bytes) -> bool:
    return checksum(data[:-_CHECKSUM_BYTES], 0, 0, "<") == unpack("<II", data[-_CHECKSUM_BYTES:])


def _page_size(file: RawFile) -> int:
    """Return what the header says, if it can be true; else 0."""
    header = file.read(0, 18)
    number = int.from_bytes(header[16:18])
    number = _LARGEST_PAGE if number == 1 else number
    is_possible = 512 <= number <= _LARGEST_PAGE and number & (number - 1) == 0
    return number if is_possible and (header.startswith(MAGIC) or number == _USUAL_PAGE_SIZE) else 0


def _guess(file: RawFile | None) -> int:
    """Return the page size by which most tree pages are found; SQLite's default if there are none.

    Too large a size finds only some of them; with too small a size, their cells lie outside the page.
    """
    found = dict.fromkeys((_USUAL_PAGE_SIZE, *(2**power for power in range(9, 17))), 0)
    if file is None:
        return _USUAL_PAGE_SIZE
    for start in range(0, min(file.size, _PAGES_LOOKED_AT * _LARGEST_PAGE), _LARGEST_PAGE):
        data = file.read(start, _LARGEST_PAGE)
        for page_size in found:
            places = range(0 if start else page_size, len(data), page_size)
            found[page_size] += sum(_is_tree_page(data, place, page_size) for place in places)
    most = max(found.values())
    return min(size for size in found if found[size] == most) if most else _USUAL_PAGE_SIZE


def _is_tree_page(data: bytes, start: int, page_size: int) -> bool:
    """Tell whether this is the header of a tree page whose cells all lie within the page."""
    if data[start] not in _TREE_PAGES or start + page_size > len(data):
        return False
    _, _, count, content, _ = _TREE_HEADER.unpack_from(data, start)
    content = content or _LARGEST_PAGE
    pointers = start + (12 if data[start] in _INTERIOR_PAGES else 8)
    least = pointers - start + 2 * count
    if not (least <= content <= page_size and (count or content + 255 >= page_size)):
        return False
    return all(content <= offset < page_size for offset in unpack_from(f">{count}H", data, pointers))

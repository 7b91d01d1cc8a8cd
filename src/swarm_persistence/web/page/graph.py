"""Lays out a task among its dependencies and dependents: three columns, with lines between them."""

from collections.abc import Sequence

import msgspec

from swarm_persistence import TaskModel

WIDTH = 720
_BOX_WIDTH = 190
_BOX_HEIGHT = 40
_GAP = 12
_COLUMNS = (0, (WIDTH - _BOX_WIDTH) // 2, WIDTH - _BOX_WIDTH)


class Box(msgspec.Struct, frozen=True):
    """One task of the graph."""

    id: str
    task: TaskModel | None
    """`None` if none of this id is stored."""
    x: int
    y: int
    is_own: bool = False


class Graph(msgspec.Struct, frozen=True):
    """Boxes, and the lines between them as paths of SVG."""

    height: int
    boxes: list[Box]
    paths: list[str]
    width: int = WIDTH
    box_width: int = _BOX_WIDTH
    box_height: int = _BOX_HEIGHT


Column = Sequence[tuple[str, TaskModel | None]]


def graph_of(before: Column, task: TaskModel, after: Column) -> Graph:
    """Return the graph of a task between the tasks before and after it."""
    rows = max(len(before), len(after), 1)
    height = rows * (_BOX_HEIGHT + _GAP) - _GAP
    own = Box(task.id, task, _COLUMNS[1], (height - _BOX_HEIGHT) // 2, is_own=True)
    first, last = _column(before, _COLUMNS[0], height), _column(after, _COLUMNS[2], height)
    paths = [_path(box, own) for box in first] + [_path(own, box) for box in last]
    return Graph(height, [*first, own, *last], paths)


def _column(tasks: Column, x: int, height: int) -> list[Box]:
    top = (height - (len(tasks) * (_BOX_HEIGHT + _GAP) - _GAP)) // 2
    return [Box(id, task, x, top + place * (_BOX_HEIGHT + _GAP)) for place, (id, task) in enumerate(tasks)]


def _path(start: Box, end: Box) -> str:
    x1, y1 = start.x + _BOX_WIDTH, start.y + _BOX_HEIGHT // 2
    x2, y2 = end.x - 6, end.y + _BOX_HEIGHT // 2
    middle = (x1 + x2) // 2
    return f"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"

"""Measuring one module."""

from pathlib import Path

import pytest

from swarm_persistence.demo.measures import MeasuredFunction, Measures, longer, measure_module, measure_source

SOURCE = """\
import os, os.path
from collections import abc
from . import neighbour

class Shape:
    @property
    def area(self):
        if self.width and self.height and self.depth:
            return [side for side in self.sides if side if side > 1]
        return 1 if self else 2

    async def wait(self):
        async for each in self:
            while each:
                pass

def outer():
    try:
        def inner():
            for each in (): pass
    except ValueError:
        pass
    match outer:
        case 1: pass
        case _: pass
"""


def measured(source: str) -> Measures:
    return measure_source("package.module", source, len(source.splitlines()))


def test_functions_and_classes_are_counted() -> None:
    measures = measured(SOURCE)
    assert (measures.lines, measures.functions, measures.classes) == (25, 4, 1)


def test_branches_are_those_of_mccabe() -> None:
    # if, two `and`, two ifs of the comprehension, the conditional expression; async for, while; for, except, two cases
    assert measured(SOURCE).branches == 1 + 2 + 2 + 1 + 2 + 1 + 1 + 2


def test_complexity_is_functions_and_branches() -> None:
    assert measured(SOURCE).complexity == 4 + 12


def test_imports_are_top_level_names_once_and_a_relative_one_is_its_own_package() -> None:
    assert measured(SOURCE).imports == ["collections", "os", "package"]


def test_the_longest_function_counts_no_decorators() -> None:
    assert measured(SOURCE).longest_function == MeasuredFunction("package.module", "outer", 17, 9)
    decorated = measured("@staticmethod\n@other\ndef short():\n    pass\n").longest_function
    assert decorated == MeasuredFunction("package.module", "short", 3, 2)


def test_of_equally_long_functions_the_first_is_the_longest() -> None:
    first, second = MeasuredFunction("a", "f", 1, 9), MeasuredFunction("a", "g", 20, 9)
    assert longer(first, second) == longer(second, first) == first
    assert longer(None, second) == second
    assert longer(None, None) is None


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"print 'python 2'\n", 1),
        (b"a = 1\n\xff\xfe = 2\n", 2),
        (b"# -*- coding: no-such-codec -*-\n", 1),
        (b"a = 1\n\x00\n", 2),
        (b"a = " + b"(" * 5000 + b")" * 5000 + b"\n", 1),
    ],
    ids=["syntax", "undecodable", "unknown codec", "NUL", "too deep"],
)
def test_what_this_python_cannot_parse_is_said_and_its_lines_counted(
    tmp_path: Path, content: bytes, lines: int
) -> None:
    path = tmp_path / "broken.py"
    path.write_bytes(content)
    measures = measure_module("broken", str(path))
    assert measures.problem is not None
    assert measures.problem.startswith("cannot be parsed: ")
    assert (measures.lines, measures.functions, measures.branches) == (lines, 0, 0)


def test_a_declared_encoding_is_heeded(tmp_path: Path) -> None:
    path = tmp_path / "latin.py"
    path.write_bytes("# -*- coding: latin-1 -*-\ndef f(): return 'é'\n".encode("latin-1"))
    assert measure_module("latin", str(path)).functions == 1


def test_a_file_that_is_gone_is_said(tmp_path: Path) -> None:
    measures = measure_module("gone", str(tmp_path / "gone.py"))
    assert measures == Measures(module="gone", problem="cannot be read: No such file or directory")


def test_a_warning_about_the_source_is_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "escape.py"
    path.write_text("text = '\\d'\n")  # warnings are errors in this test run
    assert measure_module("escape", str(path)).problem is None

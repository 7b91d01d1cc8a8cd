"""Facts about the waits of the tests: each has a limit, and a wait in vain fails with what it waited for."""

import ast
import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

import polling
from polling import block_until, until

ROOT = Path(__file__).parents[1]
WITHOUT_A_LIMIT = {
    "tests/browser/programs/endings.py": "runs in a browser, without this module, under a limit of its own",
    "tests/polling.py": "has the limit",
    "tests/torture/cuts.py": "acts beside a trial, which ends it",
}
"""The files that may poll with a loop of their own, and why."""


def polls_in(text: str) -> Iterator[int]:
    """Yield the lines of the loops that do nothing but sleep until a condition holds."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.While) and all(_sleeps(each) for each in node.body):
            yield node.lineno


def _sleeps(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    call = value.value if isinstance(value, ast.Await) else value
    return isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] == "sleep"


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "LIMIT_SECONDS", 0.01)


def test_only_waits_with_a_limit_poll() -> None:
    found = {
        str(path.relative_to(ROOT)): lines
        for folder in ("tests", "conformance/src")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (lines := [*polls_in(path.read_text())])
    }
    own = {file: lines for file, lines in found.items() if file not in WITHOUT_A_LIMIT}

    assert own == {}, "use polling.until, which fails with what it waited for"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("while not done():\n    await asyncio.sleep(0)", [1]),
        ("x = 1\nwhile not done():\n    time.sleep(0.1)", [2]),
        ("while True:\n    act()\n    time.sleep(0.1)", []),
    ],
)
def test_a_poll_is_recognised(text: str, lines: list[int]) -> None:
    assert [*polls_in(text)] == lines


async def test_what_is_polled_for_is_returned() -> None:
    values = iter([0, "", "found"])

    async def look() -> object:
        return next(values)

    assert await until(look) == "found"


@pytest.mark.usefixtures("short_limit")
async def test_a_wait_in_vain_tells_what_was_polled() -> None:
    connections = [1, 2]

    with pytest.raises(AssertionError, match=r"(?s)not true within 0\.01 s, but False: .*len\(connections\) == 3"):
        await until(lambda: len(connections) == 3)
    with pytest.raises(AssertionError, match=r"(?s)not true within 0\.01 s, but None: .*clear"):
        block_until(connections.clear)


@pytest.mark.usefixtures("short_limit")
async def test_a_poll_that_gets_no_answer_ends_as_well() -> None:
    with pytest.raises(AssertionError, match=r"not true within 0\.01 s"):
        await until(asyncio.Event().wait)


async def test_an_error_of_what_is_polled_is_raised() -> None:
    async def fail() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await until(fail)

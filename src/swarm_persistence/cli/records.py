"""What the commands that list and show records share: their arguments, pages, and the form of a record in output."""

import argparse
import asyncio
import json
import math
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec

from swarm_persistence.cli.failure import CommandError
from swarm_persistence.cli.target import existing_file, open_existing
from swarm_persistence.cli.terminal import open_console, print_line
from swarm_persistence.clock import now
from swarm_persistence.models import Model
from swarm_persistence.query.builder import QueryBuilder
from swarm_persistence.query.filters import query_where
from swarm_persistence.storage import Storage

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
M = TypeVar("M", bound=Model)
Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

_PAGE = 50
_GAP = 3  # between two columns of a table
_LONGEST_WORD = 12
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def add_actions(commands: "Subparsers", name: str, text: str) -> "Subparsers":
    """Add a command that has actions, and return the subparsers to add them to."""
    parser = commands.add_parser(name, help=text[0].lower() + text[1:].rstrip("."), description=text)
    return parser.add_subparsers(title="actions", metavar="ACTION", required=True)


def add_action(
    actions: "Subparsers", name: str, text: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """Add an action with the arguments that all have."""
    parser = actions.add_parser(
        name, help=text.partition(".")[0][0].lower() + text.partition(".")[0][1:], description=text
    )
    parser.add_argument("database", metavar="DATABASE", help="a path or URL; it must exist")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line, with every field")
    parser.set_defaults(run=run)
    return parser


def add_page(parser: argparse.ArgumentParser, cursor: str) -> None:
    """Add the arguments of a list that is read page by page."""
    add_limit(parser)
    parser.add_argument("--after", metavar=cursor, help=f"the page after this one: the {cursor} of the last one shown")


def add_limit(parser: argparse.ArgumentParser) -> None:
    """Add the argument that bounds a list."""
    parser.add_argument(
        "--limit", type=whole_number, default=_PAGE, metavar="N", help=f"how many at most (default: {_PAGE})"
    )


def add_group(parser: argparse.ArgumentParser, records: str) -> None:
    """Add the arguments that choose records by their group and tags."""
    parser.add_argument("--group", metavar="GROUP", help=f"only {records} of this group")
    parser.add_argument(
        "--tag", action="append", type=tag, metavar="KEY=VALUE", help=f"only {records} with this tag; may be repeated"
    )


def matching(model: type[M], arguments: argparse.Namespace, **fields: str | bool | list[str] | None) -> QueryBuilder[M]:
    """Return the query of the records of the group and tags of the arguments whose fields have these values.

    A list is of values of which one must fit; `None` fits all records.
    """
    return query_where(model, arguments.tag or (), group=arguments.group, **fields)


def pair(text: str, noun: str, form: str) -> tuple[str, str]:
    """Return what an argument of a form such as KEY=VALUE gives."""
    left, equals, right = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not a {noun}, expected {form}")
    return left, right


tag = partial(pair, noun="tag", form="KEY=VALUE")
"""The key and the value of a tag that an argument gives."""


def whole_number(text: str) -> int:
    """Return a whole number above 0 that an argument gives."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def json_value(text: str) -> Any:
    """Return the JSON value that an argument gives."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {error}") from None


def run_on(target: str, work: Callable[[Storage], Awaitable[T]]) -> T:
    """Open the storage of an existing database, do the work, and return its result."""

    async def run() -> T:
        async with await open_existing(str(existing_file(target) or target)) as storage:
            return await work(storage)

    return asyncio.run(run())


def print_json(record: msgspec.Struct | dict[str, Any], indent: int | None = None) -> None:
    """Print a record as JSON, by default on one line."""
    print(json.dumps(msgspec.to_builtins(record), indent=indent, ensure_ascii=False), flush=True)


def progress_printer(arguments: argparse.Namespace) -> Callable[[str], None]:
    """Return the function that prints what a command is doing; with `--json`, nothing but the JSON is printed."""
    return (lambda text: None) if arguments.json else partial(print, flush=True)


def print_result(arguments: argparse.Namespace, result: msgspec.Struct | dict[str, Any], text: str) -> None:
    """Print what a command has done: a text, or with `--json` the result."""
    if arguments.json:
        print_json(result)
    else:
        print(text, flush=True)


def show_page(
    arguments: argparse.Namespace,
    query: QueryBuilder[M],
    field: str,
    title: str,
    columns: dict[str, Callable[[M], str]],
) -> None:
    """Read one page, from the highest value of a unique field down, and print it, with the command for the next one."""
    beyond = query if arguments.after is None else query.where_lt(field, arguments.after)
    page = beyond.order_by(field, desc=True).limit(arguments.limit)
    records = run_on(arguments.database, lambda storage: storage.repository(page.query.table.model).query(page))
    show_list(arguments, records, title, columns)
    if not arguments.json and len(records) == arguments.limit:
        print_line(open_console(), f"more: --after {printable(str(getattr(records[-1], field)))}")


def show_list(
    arguments: argparse.Namespace, records: Sequence[M], title: str, columns: dict[str, Callable[[M], str]]
) -> None:
    """Print records: as JSON lines, or as a table."""
    if not arguments.json:
        show_all(records, title, columns)
        return
    for record in records:
        print_json(record)


def show_all(records: Sequence[M], title: str, columns: dict[str, Callable[[M], str]]) -> None:
    """Print records as a table."""
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    if not records:
        print_line(open_console(), f"no {title.lower()}")
        return
    cells = [[printable(show(record)) for record in records] for show in columns.values()]
    widths = [max(map(cell_len, (name, *texts))) for name, texts in zip(columns, cells, strict=True)]
    # Long texts are broken to fit, short ones and the id never: where they don't fit, the terminal breaks the row.
    are_whole = [not number or width <= _LONGEST_WORD for number, width in enumerate(widths)]
    least = sum(
        (width if is_whole else _LONGEST_WORD) + _GAP for width, is_whole in zip(widths, are_whole, strict=True)
    )
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for name, is_whole in zip(columns, are_whole, strict=True):
        table.add_column(name, overflow="fold", no_wrap=is_whole)
    for row in zip(*cells, strict=True):
        table.add_row(*map(Text, row))  # the texts are users', and may look like markup
    open_console(least=least).print(table)


def print_fields(console: "Console", record: Model, left: Collection[str] = ()) -> None:
    """Print the fields of a record that have a value, one per line, except those in `left`, which the caller prints."""
    for field in record.__struct_fields__:
        if field in left:
            continue
        value = msgspec.to_builtins(getattr(record, field))
        if value is not None:
            print_line(console, f"{field}: {printable(value if isinstance(value, str) else short_json(value))}")


def delete_one(
    arguments: argparse.Namespace, name: str, delete: Callable[[Storage], Awaitable[bool]], missing: str
) -> int:
    """Delete a record, report it, and return the exit code.

    Raises:
        CommandError: there was none to delete; `missing` is the message.

    """
    if not run_on(arguments.database, delete):
        raise CommandError(missing, 1)
    if not arguments.json:
        print(f"{printable(name)}: deleted")
    return 0


def confirm(command: str, facts: Callable[[], Iterable[str]]) -> None:
    """Print what would be deleted, and return if the answer is yes.

    Raises:
        CommandError: there is no terminal, or the answer is another one.

    """
    if not sys.stdin.isatty():
        raise CommandError(f"{command} asks for confirmation, and there is no terminal to answer on; pass --yes")
    for fact in facts():
        print(fact, file=sys.stderr)
    if input("delete them permanently? [y/N] ").strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was deleted", exit_code=1)


def printable(text: str) -> str:
    """Return text in which nothing moves the cursor, changes colours or begins a new line."""
    return (
        text
        if text.isprintable()
        else "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    )


def age(moment: datetime) -> str:
    """Return how far a time lies in the past or the future, in the largest fitting unit."""
    passed = (now() - moment).total_seconds()
    unit, width = next((each for each in _UNITS if abs(passed) >= each[1]), _UNITS[-1])
    number = f"{math.floor(abs(passed) / width)} {unit}"
    return f"in {number}" if passed < 0 else f"{number} ago"


def short_json(value: object) -> str:
    """Return a value as JSON on one line."""
    return json.dumps(msgspec.to_builtins(value), ensure_ascii=False)

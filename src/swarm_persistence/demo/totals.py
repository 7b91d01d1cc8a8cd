"""Sums the measures of modules and the totals of packages."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from swarm_persistence.demo.measures import MeasuredFunction, Measures, longer

MOST_COMPLEX = 10
"""How many of the most complex modules are kept."""


class Ranked(msgspec.Struct, frozen=True):
    """A module and the values by which it is ranked."""

    module: str
    complexity: int
    lines: int
    functions: int
    branches: int


class Totals(msgspec.Struct, kw_only=True):
    """The combined counts of several modules."""

    modules: int = 0
    unparsed: int = 0
    """Modules that could not be parsed; only their lines are counted."""
    lines: int = 0
    functions: int = 0
    classes: int = 0
    branches: int = 0
    longest_function: MeasuredFunction | None = None
    imports: dict[str, int] = {}
    """How many of the modules import each top-level module."""
    most_complex: list[Ranked] = []


def sum_modules(modules: Iterable[Measures]) -> Totals:
    """Sum the measures of modules."""
    return sum_totals(_of_one(module) for module in modules)


def sum_totals(parts: Iterable[Totals]) -> Totals:
    """Combine totals; order and grouping do not change the result."""
    total = Totals()
    imports: Counter[str] = Counter()
    ranked: list[Ranked] = []
    for part in parts:
        total.modules += part.modules
        total.unparsed += part.unparsed
        total.lines += part.lines
        total.functions += part.functions
        total.classes += part.classes
        total.branches += part.branches
        total.longest_function = longer(total.longest_function, part.longest_function)
        imports.update(part.imports)
        ranked = most_complex(ranked + part.most_complex)
    total.imports = dict(sorted(imports.items()))
    total.most_complex = ranked
    return total


def most_complex(modules: Iterable[Ranked]) -> list[Ranked]:
    """Return the most complex of the modules, the most complex first, equal ones by name."""
    return sorted(modules, key=lambda ranked: (-ranked.complexity, ranked.module))[:MOST_COMPLEX]


def _of_one(module: Measures) -> Totals:
    return Totals(
        modules=1,
        unparsed=int(module.problem is not None),
        lines=module.lines,
        functions=module.functions,
        classes=module.classes,
        branches=module.branches,
        longest_function=module.longest_function,
        imports=dict.fromkeys(module.imports, 1),
        most_complex=[rank(module)],
    )


def rank(module: Measures) -> Ranked:
    """Return the sort key of a module in the ranking."""
    return Ranked(module.module, module.complexity, module.lines, module.functions, module.branches)

"""Counts the same files in one process and a plain loop, to check the swarm's result."""

from collections import Counter
from collections.abc import Callable

from swarm_persistence.demo.library import Module
from swarm_persistence.demo.measures import Measures, measure_module
from swarm_persistence.demo.totals import MOST_COMPLEX, Totals, rank


def count_plainly(modules: list[Module], should_continue: Callable[[int], bool]) -> Totals | None:
    """Return the totals of the modules; `None` once `should_continue`, called before each module, returns `False`.

    Does not use the swarm's summing code, so that an error there cannot hide itself.
    """
    measured: list[Measures] = []
    for number, module in enumerate(modules):
        if not should_continue(number):
            return None
        measured.append(measure_module(module.name, module.path))
    functions = [one.longest_function for one in measured if one.longest_function]
    by_complexity = sorted(measured, key=lambda one: (-one.functions - one.branches, one.module))
    return Totals(
        modules=len(measured),
        unparsed=sum(one.problem is not None for one in measured),
        lines=sum(one.lines for one in measured),
        functions=sum(one.functions for one in measured),
        classes=sum(one.classes for one in measured),
        branches=sum(one.branches for one in measured),
        longest_function=min(functions, key=lambda each: (-each.lines, each.module, each.line), default=None),
        imports=dict(sorted(Counter(name for one in measured for name in one.imports).items())),
        most_complex=[rank(one) for one in by_complexity[:MOST_COMPLEX]],
    )

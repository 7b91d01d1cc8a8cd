"""Draws a sample of Cosmic Ray's mutants of the measured folders."""

import ast
import random
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from cosmic_ray.commands import init
from cosmic_ray.modules import find_modules
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec

SOURCE = Path("src/swarm_persistence")
FOLDERS = (SOURCE / "storage", SOURCE / "worker", SOURCE / "engines/sql/sqlite")

# Annotations are never evaluated to any effect, so `A | None` mutated within one is always equivalent; the package has
# few other uses of `|`.
_LEFT_OUT = "core/ReplaceBinaryOperator_BitOr_"
_OF_PRODUCTS = "core/ReplaceBinaryOperator_Mul_"


def sample_of_mutants(tree: Path, folders: Iterable[Path], size: int, seed: int) -> tuple[list[MutationSpec], int]:
    """Return a random sample of the mutants of some folders, and the number of places from which it was drawn.

    Each place in the code is drawn at most once: an operator with many replacements counts no more than one with a
    single replacement.
    """
    modules = sorted(find_modules(tree / folder for folder in folders))
    with use_db(str(tree / "mutants.sqlite"), WorkDB.Mode.create) as database:
        init(modules, database, {})
        mutants = [mutation for item in database.work_items for mutation in item.mutations]
    mutants = [mutant for mutant in mutants if not mutant.operator_name.startswith(_LEFT_OUT)]
    mutants.sort(key=lambda mutant: (mutant.module_path, mutant.start_pos, mutant.operator_name, mutant.occurrence))
    random.Random(seed).shuffle(mutants)
    by_place = {(mutant.module_path, mutant.start_pos): mutant for mutant in mutants}
    return [*islice(filter(_is_another_program, by_place.values()), size)], len(by_place)


def _is_another_program(mutant: MutationSpec) -> bool:
    """Tell whether a mutant is Python, and more than another way to pass an argument.

    Cosmic Ray takes the `*` before keyword-only parameters for a multiplication. A `/` in its place lets them be passed
    by position as well, which no call does.
    """
    source = mutant.module_path.read_text()
    try:
        mutated = mutate_code(source, get_operator(mutant.operator_name)(), mutant.occurrence)
    except AttributeError:
        return False  # Cosmic Ray cannot replace an exception of a tuple that is written with its module's name
    try:
        compile(mutated, mutant.module_path, "exec")
    except SyntaxError:
        return False
    return not mutant.operator_name.startswith(_OF_PRODUCTS) or _products(mutated) < _products(source)


def _products(source: str) -> int:
    return sum(isinstance(node, ast.Mult) for node in ast.walk(ast.parse(source)))

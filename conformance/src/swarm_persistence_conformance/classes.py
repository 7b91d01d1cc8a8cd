"""Collects the suite's classes of facts from its modules; they are listed nowhere else."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

_PACKAGE = __name__.rpartition(".")[0]
_IMPORTS_THIS = f"{_PACKAGE}.runner"
_MODULES = sorted(
    {f"{_PACKAGE}.{module.name}" for module in iter_modules([str(Path(__file__).parent)])} - {__name__, _IMPORTS_THIS}
)

# pytest rewrites the asserts of a module only if it is registered before the import.
pytest.register_assert_rewrite(*_MODULES)


def _classes_of(module_name: str) -> Iterator[type]:
    for name, member in vars(import_module(module_name)).items():
        if name.startswith("Test") and member.__module__ == module_name:
            yield member


FACTS: dict[str, type] = {cls.__name__: cls for name in _MODULES for cls in _classes_of(name)}
"""All classes of facts by their names."""

CORE = tuple(cls for name, cls in FACTS.items() if name not in {"TestThreads", "TestAgreement"})
"""The facts that need only an event loop: all but those about threads and the comparisons by Hypothesis."""

"""Prepared writes: steps that are the same at every call but for some values, so that an engine compiles them once."""

from collections.abc import Callable, Iterator, Sequence
from inspect import signature
from typing import Any

import msgspec

from swarm_persistence.engines.steps import Step


class Parameter(msgspec.Struct, frozen=True, gc=False):
    """Stands in for a value while the steps are compiled."""

    position: int


class PreparedWrite:
    """The steps of a verb as a function of values, which are inserted unchecked.

    Each is a column value or a `FromNow`, checked by the verb.
    """

    def __init__(self, steps_of: Callable[..., Sequence[Step]]) -> None:
        self.steps_of = steps_of

    def template(self) -> Sequence[Step]:
        """Return the steps with parameters in the places of the values."""
        return self.steps_of(*map(Parameter, range(len(signature(self.steps_of).parameters))))


class BoundSteps(Sequence[Step]):
    """The steps of a prepared write with these values; other engines run them as ordinary steps."""

    __slots__ = ("_steps", "prepared", "values")

    def __init__(self, prepared: PreparedWrite, *values: Any) -> None:
        self.prepared = prepared
        self.values = values
        self._steps: Sequence[Step] = ()

    @property
    def steps(self) -> Sequence[Step]:
        """Return the steps, which are made at the first use."""
        if not self._steps:
            self._steps = self.prepared.steps_of(*self.values)
        return self._steps

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, place: Any) -> Any:
        return self.steps[place]

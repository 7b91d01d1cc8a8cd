"""A run in progress: its scale and place, the shuffle of its rounds, and the rows that come of it."""

import gc
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from benchmarks.results import RATE, Quantity, Row
from benchmarks.scale import Scale
from benchmarks.site import Site

Case = tuple[str, int]
"""A peer and a number in flight."""

C = TypeVar("C")


class Bench:
    """What a workload needs to run."""

    def __init__(self, scale: Scale, site: Site, say: Callable[[str], None]) -> None:
        self.scale = scale
        self.site = site
        self.say = say
        self._random = random.Random(20260101)  # the same shuffles in every run

    async def measure(
        self, workload: str, cases: Sequence[Case], measure_once: Callable[[Case], Awaitable[float]], unit: str = RATE
    ) -> list[Row]:
        """Measure every case once a round, in a new order each round."""

        async def measure_one(case: Case) -> dict[Quantity, float]:
            return {Quantity(unit): await measure_once(case)}

        return await self.measure_several(workload, cases, measure_one)

    async def measure_several(
        self, workload: str, cases: Sequence[Case], measure_once: Callable[[Case], Awaitable[dict[Quantity, float]]]
    ) -> list[Row]:
        """Measure several quantities of every case once a round."""
        measured: dict[tuple[Case, Quantity], list[float]] = defaultdict(list)
        # What was made beforehand is not garbage: the collector must not go through it again and again.
        was_frozen = gc.get_freeze_count() > 0  # the tests freeze what they have imported, for as long as they run
        gc.collect()
        gc.freeze()
        for number in range(self.scale.rounds):
            self.say(f"{workload}: round {number + 1} of {self.scale.rounds}")
            for case in self.shuffled(cases):
                for quantity, value in (await measure_once(case)).items():
                    measured[case, quantity].append(value)
        if not was_frozen:
            gc.unfreeze()
        return [
            Row(workload, *case, values, *quantity)
            for case in cases
            for (measured_case, quantity), values in measured.items()
            if measured_case == case
        ]

    def shuffled(self, cases: Sequence[C]) -> list[C]:
        """Return the cases in a new order."""
        return self._random.sample(cases, len(cases))

"""How much the browser benchmark does."""

from typing import NamedTuple


class Scale(NamedTuple):
    """How often each kind of work is done in a round, and by how many records."""

    name: str
    rounds: int
    calls: int
    batches: int
    records: int


FULL = Scale("full", rounds=7, calls=100, batches=3, records=1000)
SMOKE = Scale("smoke", rounds=2, calls=2, batches=1, records=10)
SCALES = {scale.name: scale for scale in (FULL, SMOKE)}

"""How much the browser benchmark does."""

from typing import NamedTuple


class Scale(NamedTuple):
    """How often each kind of work is done in a round, and by how many records."""

    name: str
    rounds: int
    calls: int
    batches: int
    records: int
    large: int
    """Bytes of a large document."""


FULL = Scale("full", rounds=7, calls=100, batches=3, records=1000, large=20_000_000)
SMOKE = Scale("smoke", rounds=2, calls=2, batches=1, records=10, large=1_000_000)
SCALES = {scale.name: scale for scale in (FULL, SMOKE)}

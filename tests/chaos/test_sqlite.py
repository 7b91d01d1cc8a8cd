"""Six processes on one SQLite file do all their work, whichever of them are killed."""

from pathlib import Path

from chaos.trial import Trial
from chaos.verdict import require_order


async def test_every_task_is_completed_once_in_order_though_workers_are_killed_all_the_time(
    tmp_path: Path, seed: int
) -> None:
    require_order(await Trial(f"sqlite:///{tmp_path}/swarm.db", seed).run(tmp_path))

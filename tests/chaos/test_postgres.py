"""Six processes on one PostgreSQL server do all their work, whichever of them are killed."""

from pathlib import Path

from chaos.trial import Trial
from chaos.verdict import require_order
from postgres.conftest import server
from postgres.servers import Server

__all__ = ["server"]


async def test_every_task_is_completed_once_in_order_though_workers_are_killed_all_the_time(
    server: Server, tmp_path: Path, seed: int
) -> None:
    require_order(await Trial(server.url(schema="chaos"), seed).run(tmp_path))

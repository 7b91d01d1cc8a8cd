"""Facts about the benchmarks of workers in processes of their own."""

from pathlib import Path

from benchmarks import latency, shared_file


async def test_two_processes_do_the_tasks_of_one_file(tmp_path: Path) -> None:
    assert await shared_file.rate_of(tmp_path / "tasks.db", processes=2, tasks=100, at_once=8) > 0


async def test_an_idle_worker_in_another_process_starts_each_task(tmp_path: Path) -> None:
    measured = await latency.measure(str(tmp_path / "swarm.db"), count=2, idle_seconds=0.1)

    assert len(measured.seconds) == 2
    assert min(measured.seconds) > 0
    assert not measured.floor_seconds
    assert measured.idle_share >= 0
    assert latency.report("swarm.db", measured).startswith("SQLite: p50 ")

"""Six processes on one SQLite file do all their work, whoever is killed."""

from pathlib import Path

from chaos.trial import Trial


async def test_every_task_is_completed_once_in_order_though_workers_are_killed_all_the_time(
    tmp_path: Path, seed: int
) -> None:
    trial = Trial(f"sqlite:///{tmp_path}/swarm.db", seed)

    outcome = await trial.run(tmp_path)

    history = outcome.history
    history.require_all_completed()
    history.require_one_completion_each_by_the_holder()
    history.require_claims_one_after_the_other()
    history.require_every_claim_ended_once()
    history.require_dependencies_first()
    history.require_the_log_in_order()
    assert [watcher.seen == history.events for watcher in outcome.watchers] == [True] * 3
    assert outcome.complaints == ""
    # Else it has shown less than it says.
    assert outcome.kills > 30
    assert [each for each in ("requeued", "lost", "failed", "released") if history.count(each) == 0] == []

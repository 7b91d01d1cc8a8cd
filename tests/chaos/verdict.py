"""What must be true of a trial, whatever database it ran on."""

import re

from chaos.trial import Outcome

# SQLite's log has the frames of a commit before its index names them. A process that is killed in between leaves a
# commit that is not applied, and was acknowledged to no caller; the next process to open the file logs it.
_UNFINISHED_COMMIT = re.compile(
    r"^.*: the last commit in its log is torn at frame \d+ and is not applied\n", re.MULTILINE
)


def require_order(outcome: Outcome) -> None:
    """Require that every task was completed once, in order, by its holder, and that each watcher saw just the log."""
    history = outcome.history
    history.require_all_completed()
    history.require_one_completion_each_by_the_holder()
    history.require_claims_one_after_the_other()
    history.require_every_claim_ended_once()
    history.require_dependencies_first()
    history.require_the_log_in_order()
    assert [watcher.seen == history.events for watcher in outcome.watchers] == [True] * 3
    assert _UNFINISHED_COMMIT.sub("", outcome.complaints) == "", outcome.complaints
    # Else it has shown less than it says.
    assert outcome.kills > 30
    assert [each for each in ("requeued", "lost", "failed", "released") if history.count(each) == 0] == []

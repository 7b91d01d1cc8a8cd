"""A plugin for pytest: the OpenAI Agents SDK's own tests get our session where they ask for the one of SQLite."""

from pathlib import Path
from typing import Any

import agents
import agents.memory

from swarm_persistence import open_storage
from swarm_persistence.contrib.openai_agents import SwarmSession

_CONNECTIONS = "it counts, opens or breaks the SQLite connections of the session, which ours does not have"
_TABLES = "it reads or drops the session's SQLite tables"
_ROWS = "it writes rows that are not JSON into the session's SQLite table"

EXCLUDED = {
    "test_sqlite_session_close_closes_worker_thread_connections": _CONNECTIONS,
    "test_sqlite_session_reaps_connections_from_exited_worker_threads": _CONNECTIONS,
    "test_sqlite_session_closes_retired_connections_before_the_next_allocation": _CONNECTIONS,
    "test_sqlite_session_keeps_connections_of_live_worker_threads": _CONNECTIONS,
    "test_sqlite_session_rollback_failure_evicts_connection": _CONNECTIONS,
    "test_sqlite_session_close_retries_quarantined_connection": _CONNECTIONS,
    "test_sqlite_session_post_commit_cancellation_propagates_after_known_outcome": _CONNECTIONS,
    "test_sqlite_session_file_lock_is_shared_across_instances": "it reads the session's table of file locks",
    "test_sqlite_session_failed_add_items_releases_write_lock": _TABLES,
    "test_sqlite_session_failed_clear_session_rolls_back": _TABLES,
    "test_sqlite_session_failed_pop_item_releases_write_lock": _TABLES,
    "test_sqlite_session_pop_item_skips_corrupt_most_recent": _ROWS,
    "test_sqlite_session_pop_item_returns_none_after_dropping_only_corrupt_rows": _ROWS,
    "test_sqlite_session_get_items_limit_skips_corrupt_newest_rows": _ROWS,
    "test_sqlite_session_get_items_session_settings_limit_skips_corrupt_rows": _ROWS,
    "test_sqlite_session_closed_rejects_empty_add_items": "our session has no close(): the storage is the caller's",
}
"""The tests that cannot be asked of a session that is not SQLite's, and why."""


class Session(SwarmSession):
    """Our session, made and closed as that of SQLite is."""

    def __init__(self, session_id: str, db_path: str | Path = ":memory:", session_settings: Any = None) -> None:
        self._opened = open_storage(db_path)
        try:
            super().__init__(session_id, self._opened, session_settings=session_settings)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the storage."""
        self._opened.close()


def pytest_configure() -> None:
    """Put our session where the tests look for that of SQLite."""
    agents.SQLiteSession = Session  # type: ignore[misc,assignment]
    agents.memory.SQLiteSession = Session  # type: ignore[misc,assignment]


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Leave out what is excluded; each of it must be there."""
    left_out = [item for item in items if item.originalname in EXCLUDED]
    assert {item.originalname for item in left_out} == EXCLUDED.keys()
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item.originalname not in EXCLUDED]

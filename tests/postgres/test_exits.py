"""Facts about programs that end without `close`."""

import pytest

from sqlite.programs import run_program


@pytest.mark.parametrize("lock", ["storage._engine._lock", "storage._engine.pools._lock"])
def test_a_lock_that_a_stopped_thread_holds_does_not_hang_the_end(url: str, lock: str) -> None:
    # The interpreter stops its daemon threads wherever they are.
    run_program(
        f"""
        import asyncio, sys
        from swarm_persistence import PostgresStorage

        storage = asyncio.run(PostgresStorage.open(sys.argv[1]))
        {lock}.acquire()
        """,
        url,
        options=("-W", "ignore"),
    )

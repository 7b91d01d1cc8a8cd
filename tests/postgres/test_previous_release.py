"""Facts about processes of the previous release, from its own wheel, beside a schema of this one."""

from pathlib import Path

import pytest

from postgres.migration_trial import Trial, report
from postgres.previous_release import install_previous
from postgres.servers import Server


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the Python of the previous release."""
    return install_previous(tmp_path_factory.mktemp("previous"))


async def test_its_workers_go_on_and_restart_while_and_after_the_schema_is_migrated_and_back(
    server: Server, schema: str, previous: Path
) -> None:
    figures = await Trial(server, schema, previous, limit_seconds=120).run(rows=2_000)

    print("\n".join(report(figures)))

"""Facts about an environment that holds what the package requires, and none of its extras."""

import subprocess
import sys
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path

import pytest

import swarm_persistence

REQUIRED = ("apsw", "msgspec")


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Give a directory that holds this package and those that it requires."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in ("swarm_persistence", *REQUIRED):
        spec = find_spec(name)
        assert spec is not None
        assert spec.submodule_search_locations
        (packages / name).symlink_to(spec.submodule_search_locations[0])
    return packages


def run(packages: Path, program: str) -> str:
    """Run a program that finds nothing but these packages and the standard library; return what it says."""
    program = f"import sys; sys.path.append({str(packages)!r})\n{program}"
    # -I -S: no environment, no current directory, and no site-packages.
    command = [sys.executable, "-W", "error", "-I", "-S", "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return ran.stdout + ran.stderr


def test_no_other_package_is_required() -> None:
    needs = [each for each in requires("swarm-persistence") or () if "extra ==" not in each]

    assert {each.split(">")[0].split("=")[0].strip() for each in needs} == set(REQUIRED)


def test_everything_that_is_listed_can_be_imported(packages: Path) -> None:
    printed = run(packages, "from swarm_persistence import *; print(SqliteStorage.__name__, Worker.__name__)")

    assert printed == "SqliteStorage Worker\n"


@pytest.mark.parametrize("name", ["PostgresStorage", "PostgresStorageBuilder"])
def test_what_needs_an_extra_names_it(packages: Path, name: str) -> None:
    printed = run(packages, f"from swarm_persistence import {name}")

    assert printed.splitlines()[-1] == (
        "ImportError: PostgreSQL needs asyncpg; pip install 'swarm-persistence[postgres]' brings it"
    )


def test_a_schedule_that_needs_the_cron_extra_names_it_and_one_of_periods_does_without(packages: Path) -> None:
    program = """
from datetime import timedelta
from swarm_persistence import *
with open_storage(":memory:") as storage:
    storage.store_schedule(ScheduleModel(name="often", every=timedelta(minutes=5), task_type="t"))
    try:
        storage.store_schedule(ScheduleModel(name="hourly", cron="0 * * * *", task_type="t"))
    except StorageError as error:
        print(error)
    print([each.name for each in storage.list_schedules()])
"""

    assert run(packages, program).splitlines() == [
        'Other error: a cron expression needs cronsim: pip install "swarm-persistence[schedules]"',
        "['often']",
    ]


def test_a_storage_works(packages: Path, tmp_path: Path) -> None:
    program = f"""
from swarm_persistence import *
with open_storage({f"{tmp_path}/swarm.db"!r}) as storage:
    storage.store_agent(AgentModel.new("a", "b"))
    print(len(storage.list_agents()))
"""

    assert run(packages, program) == "1\n"


def test_with_the_extras_everything_is_listed() -> None:
    assert {"PostgresStorage", "PostgresStorageBuilder"} <= set(swarm_persistence.__all__)
    for name in swarm_persistence.__all__:
        assert getattr(swarm_persistence, name) is not None

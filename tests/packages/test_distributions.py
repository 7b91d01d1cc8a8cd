"""Facts about the two distributions of this repository: the library, and its conformance suite."""

import subprocess
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

import pytest

from packages.environments import build_wheel, new_environment
from swarm_persistence import __version__

ROOT = Path(__file__).parents[2]

MEMORY = """
import pytest
from swarm_persistence import MemoryStorage
from swarm_persistence_conformance import *

@pytest.fixture
def open_storage():
    return MemoryStorage
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT / "conformance", tmp_path_factory.mktemp("suite"))


def files_of(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_wheel_of_the_library_does_not_hold_the_suite(library: Path) -> None:
    files = files_of(library)

    assert {name.split("/")[0] for name in files} == {"swarm_persistence"}
    assert {name for name in files if "testing" in name or "conformance" in name} == {"swarm_persistence/testing.py"}


def test_the_wheel_of_the_suite_holds_the_suite_alone(suite: Path) -> None:
    assert {name.split("/")[0] for name in files_of(suite)} == {"swarm_persistence_conformance"}


def test_the_version_of_the_distribution_is_that_of_the_package(library: Path) -> None:
    with ZipFile(library) as archive:
        (place,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(place))

    assert metadata["Version"] == __version__


def test_the_suite_runs_where_only_the_two_wheels_are_installed(library: Path, suite: Path, tmp_path: Path) -> None:
    python = new_environment(tmp_path / "environment", library, suite)
    (tmp_path / "test_memory.py").write_text(MEMORY)

    options = ("-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, "-k", "TestAgents or TestLeases")
    run = subprocess.run(
        [python, "-m", "pytest", *options, tmp_path], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout

"""The short form of the tampering, and that its judge has teeth."""

from pathlib import Path

import pytest

from swarm_persistence.engines.sql.sqlite.file_identity import FileIdentity
from swarm_persistence.engines.sql.sqlite.writer_connection import WriterConnection
from torture.judge import BrokenPromiseError
from torture.tampering import WAYS, tamper
from torture.trials import run_trial


def test_no_write_is_acknowledged_and_lost_after_something_was_done_to_the_files() -> None:
    for seed in range(len(WAYS)):
        run_trial(tamper, seed)


def test_a_storage_that_does_not_verify_its_files_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(3 * len(WAYS)):
        (tmp_path / str(seed)).mkdir()
        with monkeypatch.context() as patched:
            for name in ("verify_paths", "verify_now_and_then"):
                patched.setattr(FileIdentity, name, lambda *_, **__: None)
            for name in ("prepare", "confirm", "verify"):
                patched.setattr(WriterConnection, name, lambda *_, **__: None)
            try:
                tamper(seed, tmp_path / str(seed))
            except AssertionError as error:
                if isinstance(error.__cause__, BrokenPromiseError):
                    return
                raise
    pytest.fail("nothing was found")

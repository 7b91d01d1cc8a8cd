"""The comparison with the Rust crate says what each figure is worth; the crate itself is built by `make bench-rust`."""

import shutil
from pathlib import Path

import pytest

from benchmarks.machine import describe_machine
from benchmarks.results import Results, Row
from benchmarks.rust.__main__ import CASES, DURABLE, PUBLISHED, SWARM, build
from benchmarks.rust.document import write_document

_RATES = {SWARM: 600.0, PUBLISHED: 1000.0, DURABLE: 500.0}


def test_every_write_is_shown_with_its_durability_and_the_targets_with_what_was_seen(tmp_path: Path) -> None:
    rows = [Row(case.verb, case.peer, case.in_flight, [_RATES[case.peer]]) for case in CASES]
    results = Results("full", 1, "2026-01-01T00:00:00+00:00", 60.0, describe_machine(tmp_path), rows)

    write_document(results, tmp_path / "page.md")

    page = (tmp_path / "page.md").read_text()
    durable = [line for line in page.splitlines() if line.startswith("| ") and "made durable | " in line]
    assert len(durable) == sum(case.peer == DURABLE for case in CASES)
    assert all("1.20 ×" in line and "on the disk" in line for line in durable)
    assert "list the 100 pending tasks, 1 in flight: 0.60 × (target 0.5 ×): reached" in page


def test_without_cargo_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)

    with pytest.raises(SystemExit, match="install Rust"):
        build()

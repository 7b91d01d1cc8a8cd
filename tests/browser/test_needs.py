"""Tests of what brings the browser and Pyodide: what it asks for, and what is said if it fails."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from chromium import needs


@pytest.fixture(autouse=True)
def nothing_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let nothing be installed."""
    monkeypatch.setattr(needs, "FOLDER", tmp_path)
    monkeypatch.setattr(needs, "PYODIDE", tmp_path / "pyodide")
    monkeypatch.setattr(needs, "WHEELS", tmp_path / "wheels")
    monkeypatch.setattr(needs, "PUPPETEER", tmp_path / "puppeteer-core")
    monkeypatch.setattr(needs, "CHROMIUM", tmp_path / "chromium")
    monkeypatch.setattr(needs, "FIREFOX", tmp_path / "firefox-esr")


def test_the_demo_page_needs_no_chromium_and_brings_none(monkeypatch: pytest.MonkeyPatch) -> None:
    brought: list[str] = []
    monkeypatch.setattr(needs, "_run", lambda purpose, *command: brought.append(purpose))

    needs.install(is_tested=False)

    assert brought == ["pyodide", "package"]
    assert "chromium" not in needs.missing(is_tested=False)


def test_the_tests_need_both_browsers_and_bring_them(monkeypatch: pytest.MonkeyPatch) -> None:
    brought: list[tuple[str, ...]] = []
    monkeypatch.setattr(needs, "_run", lambda purpose, *command: brought.append(command))
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")

    needs.install()

    told = needs.missing()
    for browser in ("chromium", "firefox-esr"):
        assert ("apt-get", "install", "-y", "--no-install-recommends", browser) in brought
        assert f"apt-get install -y --no-install-recommends {browser})" in told


def test_what_is_missing_is_told_with_the_reason_of_the_last_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.CompletedProcess(command, 1, "", "npm error code EAI_AGAIN\nnpm error network down\n")

    monkeypatch.setattr(subprocess, "run", fail)

    needs.install(is_tested=False)

    told = needs.missing(is_tested=False)
    assert "which takes npm; last time, npm failed: npm error code EAI_AGAIN npm error network down)" in told
    assert "\n" not in told


def test_what_has_been_brought_leaves_no_reason_behind(tmp_path: Path) -> None:
    needs._run("pyodide", sys.executable, "-c", "raise SystemExit('no network')")
    assert "no network" in needs.missing()

    needs._run("pyodide", sys.executable, "-c", "")

    assert "no network" not in needs.missing()


def test_what_does_not_come_to_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "TIMEOUT_SECONDS", 0.1)

    needs._run("pyodide", sys.executable, "-c", "import time; time.sleep(60)")

    assert f"last time, {sys.executable} was not done after 0.1 s" in needs.missing()


def test_what_is_not_there_is_named() -> None:
    needs._run("pyodide", "no-such-program")

    assert "last time, there is no no-such-program" in needs.missing()

"""Tests of the demo page: a swarm works in it, is seen from a second tab, and survives a reload."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from chromium.server import serve
from examples.browser.__main__ import PAGE, PROGRAMS

PATIENCE_MILLISECONDS = 60_000


@pytest.fixture
def page(browser: BrowserContext, package: Path) -> Iterator[Page]:
    """Give the demo page, once its buttons work."""
    server = serve(package, PROGRAMS, PAGE)
    page = browser.new_page()
    page.goto(server.url)
    expect(page.locator("#add")).to_be_enabled(timeout=PATIENCE_MILLISECONDS)
    yield page
    page.close()
    server.close()


def count(page: Page, status: str, number: int) -> None:
    """Wait until the page shows so many tasks of a status."""
    shown = page.locator("#counts > span", has_text=status)
    expect(shown).to_have_text(f"{number}{status}", timeout=PATIENCE_MILLISECONDS)


def test_a_swarm_works_in_the_page_and_survives_a_reload(page: Page, tmp_path: Path) -> None:
    page.click("#add")
    count(page, "pending", 20)
    page.click("#start")
    count(page, "completed", 20)
    expect(page.locator("#tasks .completed")).to_have_count(20)
    expect(page.locator("#events li")).to_have_count(8)
    page.click("#stop")
    picture = tmp_path / "page.png"
    page.screenshot(path=picture, full_page=True)

    page.reload()
    expect(page.locator("#add")).to_be_enabled(timeout=PATIENCE_MILLISECONDS)

    count(page, "completed", 20)
    assert page.locator("#agents li").count() == 3
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    assert (width >= 800, height >= 400) == (True, True)
    assert picture.stat().st_size > 15_000, "an empty page makes a smaller picture"

"""Tests of the demo page: a swarm works in it, is seen from a second tab, and survives a reload."""

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from chromium.server import serve
from examples.browser.__main__ import PAGE, PROGRAMS

TIMEOUT_MILLISECONDS = 60_000


@pytest.fixture
def page(browser: BrowserContext, package: Path) -> Iterator[Page]:
    """Give the demo page, once its buttons work."""
    server = serve(package, PROGRAMS, PAGE)
    page = browser.new_page()
    page.goto(server.url)
    expect(page.locator("#add")).to_be_enabled(timeout=TIMEOUT_MILLISECONDS)
    yield page
    page.close()
    server.close()


def count(page: Page, status: str, number: int) -> None:
    """Wait until the page shows so many tasks of a status."""
    shown = page.locator("#counts > span", has_text=status)
    expect(shown).to_have_text(f"{number}{status}", timeout=TIMEOUT_MILLISECONDS)


REMEMBER_STATUSES = """() => {
  window.statuses = new Set();
  const look = () => document.querySelectorAll("#agents li").forEach((line) => {
    window.statuses.add(line.textContent.split(": ")[1]);
  });
  new MutationObserver(look).observe(document.getElementById("agents"), { childList: true });
}"""
GREEN_PIXELS = """async (picture) => {
  const bitmap = await createImageBitmap(await (await fetch(`data:image/png;base64,${picture}`)).blob());
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
  let number = 0;
  for (let place = 0; place < data.length; place += 4) {
    number += data[place] === 0x00 && data[place + 1] === 0x78 && data[place + 2] === 0x5a;
  }
  return number;
}"""


def green_pixels(page: Page) -> int:
    """Take a picture of the page, and count what has the color of a completed task."""
    picture = b64encode(page.screenshot(full_page=True)).decode()
    number: int = page.evaluate(GREEN_PIXELS, picture)
    return number


def test_a_swarm_works_in_the_page_and_survives_a_reload(page: Page) -> None:
    page.evaluate(REMEMBER_STATUSES)
    page.click("#add")
    count(page, "pending", 20)
    green_before = green_pixels(page)
    page.click("#start")
    count(page, "completed", 20)
    expect(page.locator("#tasks .completed")).to_have_count(20)
    expect(page.locator("#events li")).to_have_count(8)
    expect(page.locator("#agents li", has_text=": idle")).to_have_count(3)
    green_after = green_pixels(page)
    page.click("#stop")
    expect(page.locator("#agents li", has_text=": shutdown")).to_have_count(3)
    statuses = page.evaluate("() => [...window.statuses]")

    page.reload()
    expect(page.locator("#add")).to_be_enabled(timeout=TIMEOUT_MILLISECONDS)

    count(page, "completed", 20)
    assert page.locator("#agents li").count() == 3
    assert "busy" in statuses
    # The name of the status is written in the colour.
    assert green_before < 200
    assert green_after - green_before > 20 * 200, "each of the 20 tasks is a box of that color"

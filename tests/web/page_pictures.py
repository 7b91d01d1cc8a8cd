"""`python -m web.page_pictures FOLDER`: takes the pictures of the live page that the documentation shows."""

import asyncio
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from chromium import needs
from chromium.tabs import OPTIONS
from swarm_persistence import SqliteStorage
from web.page_swarm import fill
from web.servers import server

_DESKTOP = {"width": 1200, "height": 820}
_SMALL = {"width": 1200, "height": 480}
_PHONE = {"width": 390, "height": 780}
PICTURES: dict[str, tuple[str, dict[str, int], str]] = {
    "page-overview": ("/", _DESKTOP, "light"),
    "page-task": ("/tasks/analyze", _DESKTOP, "dark"),
    "page-phone": ("/", _PHONE, "light"),
    "page-approvals": ("/approvals", _SMALL, "light"),
    "page-limits": ("/limits", _SMALL, "dark"),
}
"""By name: the path of the page, the size of the window, and the colour scheme."""
_COLOURS = 256


async def _fill(path: Path) -> None:
    async with await SqliteStorage.open(path) as storage:
        await fill(storage)


def main(folder: Path) -> None:
    """Take all pictures."""
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        database = Path(scratch) / "swarm.db"
        _run_apart(_fill(database))
        browser = playwright.chromium.launch(executable_path=str(needs.CHROMIUM), args=[*OPTIONS])
        with server(Path(scratch), str(database)) as serving:
            for name in PICTURES:
                _take(browser, serving.url, name, folder / f"{name}.png")
        browser.close()


def _run_apart(coroutine: Any) -> None:
    with ThreadPoolExecutor(1) as thread:  # the loop of the browser's driver runs in this one
        thread.submit(asyncio.run, coroutine).result()


def _take(browser: Browser, url: str, name: str, path: Path) -> None:
    place, size, scheme = PICTURES[name]
    viewport: Any = size
    colour_scheme: Any = scheme
    page = browser.new_page(viewport=viewport, color_scheme=colour_scheme)
    page.goto(url + place)
    page.locator("#live.is-live").wait_for()
    page.screenshot(path=path)
    page.close()
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""The browser of the tests, and its tabs."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import BrowserContext, Playwright, sync_playwright

from chromium import needs, tabs
from chromium.server import Server, serve
from chromium.tabs import Tab

PROGRAMS = Path(__file__).parent / "programs"

OpenTab = Callable[[], Tab]
OpenTabAt = Callable[[str], Tab]
OpenBrowser = Callable[[Path], BrowserContext]


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the package's wheel, built from the tree; without what the tests need, they fail here."""
    missing = needs.missing()
    if missing:
        pytest.fail(f"the browser tests need {missing}; make test-fast leaves them out", pytrace=False)
    return needs.build_package(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="session")
def server(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the package and the conformance suite, and what they take."""
    server = serve(package, PROGRAMS, suite=needs.build_suite(tmp_path_factory.mktemp("suite")))
    yield server
    server.close()


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """Give the driver of the browser. Not beyond this package: while it runs, no other event loop can."""
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="package")
def open_browser(playwright: Playwright) -> OpenBrowser:
    """Give the way to a browser with a profile of its own."""
    return partial(tabs.open_browser, playwright)


@pytest.fixture(scope="package")
def browser(open_browser: OpenBrowser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """Give a browser for all tests that need none of their own."""
    context = open_browser(tmp_path_factory.mktemp("profile"))
    yield context
    context.close()


@contextmanager
def tabs_of(browser: BrowserContext) -> Iterator[OpenTabAt]:
    """Give the way to new tabs, and close them in the end."""
    with ExitStack() as closing:

        def open_tab_at(url: str) -> Tab:
            tab = Tab(browser, f"{url}/index.html")
            closing.callback(tab.close)
            return tab.ready()

        yield open_tab_at


@pytest.fixture
def open_tab_at(browser: BrowserContext) -> Iterator[OpenTabAt]:
    """Give the way to a new tab at an address; all are closed after the test."""
    with tabs_of(browser) as open_tab_at:
        yield open_tab_at


@pytest.fixture
def open_tab(open_tab_at: OpenTabAt, server: Server) -> OpenTab:
    """Give the way to a new tab; all are closed after the test."""
    return lambda: open_tab_at(server.url)


@pytest.fixture(scope="module")
def open_module_tab(browser: BrowserContext, server: Server) -> Iterator[OpenTab]:
    """Give the way to a new tab that stays open for all tests of a file."""
    with tabs_of(browser) as open_tab_at:
        yield lambda: open_tab_at(server.url)


@pytest.fixture(scope="package")
def tab(browser: BrowserContext, server: Server) -> Iterator[Tab]:
    """Give a tab for all tests that need none of their own: to start Python in one takes longer than most tests."""
    with tabs_of(browser) as open_tab_at:
        yield open_tab_at(server.url)


@pytest.fixture
def name() -> str:
    """Give the name of an unused database."""
    return f"test-{uuid4()}"

"""The browser, a tab of it that runs Python, and a worker in one."""

import json
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Error, Page, Playwright

from chromium import needs

TIMEOUT_SECONDS = 90
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Without the cache of WebAssembly's machine code: in rare runs, pages crashed ("Target crashed") that were opened
    # after a certain moment, while older ones went on. What pages of one browser share is this cache.
    "--js-flags=--wasm-caching-threshold=2147483647 --wasm-caching-hard-threshold=2147483647",
)

_STARTED = "() => window.host !== undefined"
_CALL = "([name, args]) => window.host.call(name, args)"
_BEGIN = """([name, args]) => {
  window.pending = window.host.call(name, args);
  window.pending.catch(() => {});  // who asks for the result gets the error
}"""

_WAIT_UNTIL = """async (name) => {
  while (await window.host.call(name, "[]") !== "true") await new Promise((resolve) => setTimeout(resolve, 5));
}"""
_START_WORKER = """() => {
  const worker = new Worker("/worker.js", { type: "module" });
  const waiting = new Map();
  worker.onmessage = ({ data: [number, result, error] }) => {
    const [resolve, reject] = waiting.get(number);
    error === null ? resolve(result) : reject(new Error(error));
  };
  window.callWorker = (name, args) => new Promise((resolve, reject) => {
    const number = waiting.size;
    waiting.set(number, [resolve, reject]);
    worker.postMessage([number, name, args]);
  });
}"""
_BEGIN_IN_WORKER = """([name, args]) => {
  window.workerPending = window.callWorker(name, args);
  window.workerPending.catch(() => {});
}"""


class ProgramError(AssertionError):
    """A program has raised; the text is its traceback."""


def open_browser(playwright: Playwright, profile: Path) -> BrowserContext:
    """Start a browser with a profile of its own."""
    return playwright.chromium.launch_persistent_context(
        profile, executable_path=needs.CHROMIUM, headless=True, args=OPTIONS
    )


class Tab:
    """A page in which Python runs programs of the tests."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.page: Page = context.new_page()
        self.page.set_default_timeout(TIMEOUT_SECONDS * 1000)
        self.console: list[str] = []
        self.page.on("console", lambda message: self.console.append(message.text))
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        self.page.goto(url)

    def ready(self) -> "Tab":
        """Wait until Python runs."""
        self.page.wait_for_function(_STARTED)
        return self

    def call(self, program: str, *arguments: Any) -> Any:
        """Run a program to its end, and return what it gave; what it raises is raised with its traceback."""
        return self.value(_CALL, [program, json.dumps(arguments)])

    def value(self, script: str, argument: Any) -> Any:
        """Run a script that gives JSON, and return its value; what it raises is `ProgramError`."""
        try:
            return json.loads(self.page.evaluate(script, argument))
        except Error as error:
            # The stack of WebAssembly says nothing.
            lines = [line for line in error.message.splitlines() if "pyodide.asm" not in line]
            raise ProgramError("\n".join(lines)) from None

    def begin(self, program: str, *arguments: Any) -> "Pending":
        """Start a program, and let it go on while other tabs do something."""
        self.page.evaluate(_BEGIN, [program, json.dumps(arguments)])
        return Pending(self)

    def wait_until(self, program: str) -> None:
        """Wait until a program gives true."""
        self.page.evaluate(_WAIT_UNTIL, program)

    def start_worker(self) -> None:
        """Start Python in a worker of the page, and wait until it runs."""
        self.page.evaluate(_START_WORKER)
        self.begin_in_worker("swarms.is_holding").result()

    def begin_in_worker(self, program: str, *arguments: Any) -> "Pending":
        """Start a program in the page's worker."""
        self.page.evaluate(_BEGIN_IN_WORKER, [program, json.dumps(arguments)])
        return Pending(self, "workerPending")

    def load(self, wheels: str) -> None:
        """Load the wheels that serve some purpose."""
        self.page.evaluate("(name) => window.host.load(name)", wheels)

    def close(self) -> None:
        """Close the tab, as a user does."""
        self.page.close()


class Pending:
    """A program that runs in a tab."""

    def __init__(self, tab: Tab, name: str = "pending") -> None:
        self._tab = tab
        self._name = name

    def result(self) -> Any:
        """Wait for its end, and return what it gave."""
        return self._tab.value("(name) => window[name]", self._name)

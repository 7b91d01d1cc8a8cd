"""`python -m examples.browser`: serve the page, with the package built from the tree, until Ctrl-C."""

import signal
import sys
import tempfile
import threading
from pathlib import Path

from chromium import needs
from chromium.server import Content, serve

HERE = Path(__file__).parent
_SHARED = needs.ROOT / "src" / "swarm_persistence" / "web" / "page" / "static"
"""The look of the live page, which this one shares."""
PAGE: dict[str, Content] = {
    "/index.html": HERE / "index.html",
    "/page.css": _SHARED / "page.css",
    "/icon.svg": _SHARED / "icon.svg",
}
PROGRAMS = HERE / "programs"
PORT = 8765


def main() -> None:
    """Bring what the page takes, and serve it; it works in any browser."""
    needs.install(is_tested=False)
    if missing := needs.missing(is_tested=False):
        sys.exit(f"the demo page needs {missing}")
    with tempfile.TemporaryDirectory() as folder:
        server = serve(needs.build_package(Path(folder) / "package"), PROGRAMS, PAGE, port=PORT)
        print(f"A swarm in your browser: {server.url} (Ctrl-C ends it)")
        stopped = threading.Event()
        signal.signal(signal.SIGINT, lambda *_: stopped.set())
        signal.signal(signal.SIGTERM, lambda *_: stopped.set())
        stopped.wait()
        server.close()


if __name__ == "__main__":
    main()

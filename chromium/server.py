"""Serves Pyodide, wheels, pages and programs to the browser, from this machine only."""

import json
import threading
import zipfile
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

from chromium import needs

SITE = Path(__file__).parent / "site"

_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".wasm": "application/wasm",
}

Content = bytes | Path
"""What stands at an address: bytes, a file, or a folder of files."""


class Server:
    """A web server in a thread."""

    def __init__(self, contents: Mapping[str, Content], port: int = 0) -> None:
        self._contents = contents
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Return the address of the server, which browsers trust as they trust https."""
        return f"http://localhost:{self._server.server_port}"

    @property
    def other_url(self) -> str:
        """Return another address of it, which browsers take for another site."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> Callable[..., BaseHTTPRequestHandler]:
        contents = self._contents

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path.endswith("/"):
                    path += "index.html"
                data = _read(contents, path)
                self.send_response(404 if data is None else 200)
                self.send_header("Content-Type", _TYPES.get(Path(path).suffix, "application/octet-stream"))
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                self.wfile.write(data or b"")

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler


def _read(contents: Mapping[str, Content], path: str) -> bytes | None:
    folder, _, name = path.rpartition("/")
    content = contents.get(path) or contents.get(f"{folder}/")
    if isinstance(content, bytes | None):
        return content
    file = content if content.is_file() else content / name
    return file.read_bytes() if file.is_file() else None


def programs_archive(folder: Path) -> bytes:
    """Return the programs of a folder as a zip file, in a package of the folder's name."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for program in sorted(folder.glob("*.py")):
            archive.write(program, f"{folder.name}/{program.name}")
    return buffer.getvalue()


def serve(
    package: Path,
    programs: Path,
    extra: Mapping[str, Content] | None = None,
    *,
    suite: Path | None = None,
    port: int = 0,
) -> Server:
    """Serve Pyodide, the wheels of the package (and of the suite), what they take, some programs and other contents."""
    wheels = {"package": [*needs.package_wheels(), package]}
    if suite is not None:
        wheels["suite"] = [*needs.suite_wheels(), suite]
    addresses = {name: [f"/wheels/{wheel.name}" for wheel in some] for name, some in wheels.items()}
    contents: dict[str, Content] = {
        "/": SITE,
        "/pyodide/": needs.PYODIDE,
        "/programs.zip": programs_archive(programs),
        "/needs.json": json.dumps({"wheels": addresses}).encode(),
        **{f"/wheels/{wheel.name}": wheel for some in wheels.values() for wheel in some},
        **(extra or {}),
    }
    return Server(contents, port)

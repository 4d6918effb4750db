"""A folder of web pages on an address of this machine, which no other machine can reach."""

import functools
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"


class PageHandler(SimpleHTTPRequestHandler):
    """Serves files with the types that browsers demand, whatever the machine's own table says."""

    extensions_map: dict[str, str] = {  # noqa: RUF012 - the base class declares it so
        **SimpleHTTPRequestHandler.extensions_map,
        ".html": "text/html; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".mjs": "text/javascript; charset=utf-8",
        ".json": "application/json",
        ".wasm": "application/wasm",
        ".onnx": "application/octet-stream",
    }

    def end_headers(self) -> None:
        """Let the browser ask each time whether a file has changed."""
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


def make_server(folder: Path, port: int) -> ThreadingHTTPServer:
    """Open a port for a folder; ``serve_forever`` then answers.

    Args:
        folder: The files.
        port: The port; 0 for any that is free.

    Raises:
        OSError: The port is in use, or may not be opened.
    """
    handler = functools.partial(PageHandler, directory=str(folder))
    try:
        return ThreadingHTTPServer((HOST, port), handler)
    except OSError as error:
        raise OSError(
            f"port {port} cannot be opened: {error.strerror}; give another --port, or 0 for any "
            "that is free."
        ) from error


def address(server: ThreadingHTTPServer) -> str:
    """Return the address of a server, for a browser."""
    return f"http://{HOST}:{server.server_address[1]}/"

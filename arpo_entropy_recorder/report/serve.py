"""Serves a page to this machine's browsers, under a path that nobody can guess."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from arpo_entropy_recorder.errors import UserError

HOST = "127.0.0.1"
# Browsers take the policy from the page; this one holds for errors, too.
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# Seconds that a silent client may hold a connection.
MAX_SILENCE = 10


class PageServer:
    """The page that was published last, on 127.0.0.1; an open one loads itself again when there is another.

    Only GET of the page's own path, and of `version` below it, is answered, and only where the Host header names this
    server: a name that someone points at 127.0.0.1 gets nothing. No file is served by its name.
    """

    def __init__(self, port: int = 0) -> None:
        self._published: tuple[int, bytes] = (0, b"")
        self.path = f"/{secrets.token_urlsafe(24)}/"
        try:
            self._server = ThreadingHTTPServer((HOST, port), self._handler())
        except (OSError, OverflowError) as error:
            raise UserError(f"{port}: cannot be served on: {error}; choose another port") from error
        self._server.daemon_threads = True

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """The page's address, the secret path included."""
        return f"http://{HOST}:{self.port}{self.path}"

    def publish(self, make: Callable[[str], str]) -> None:
        """Serve the page that `make` returns for its version from now on."""
        version = self._published[0] + 1
        self._published = (version, make(str(version)).encode())

    def start(self) -> None:
        """Serve in a thread of its own, which ends with the process."""
        Thread(target=self._server.serve_forever, name="page server", daemon=True).start()

    def close(self) -> None:
        """End serving."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, host: str | None) -> tuple[HTTPStatus, str, bytes]:
        """Status, type and body for a GET."""
        if host not in (f"{HOST}:{self.port}", f"localhost:{self.port}"):
            return HTTPStatus.FORBIDDEN, "text/plain", b"wrong host\n"
        version, page = self._published
        if secrets.compare_digest(path.encode(), f"{self.path}version".encode()):
            return HTTPStatus.OK, "text/plain", str(version).encode()
        if not secrets.compare_digest(path.encode(), self.path.encode()):
            return HTTPStatus.NOT_FOUND, "text/plain", b"not here\n"
        if not version:
            return HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", b"no step is there yet; load this again\n"
        return HTTPStatus.OK, "text/html", page

    def _handler(server: PageServer) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            timeout = MAX_SILENCE
            server_version, sys_version = "arpo-entropy", ""

            def do_GET(self) -> None:
                status, kind, body = server.answer(self.path, self.headers.get("Host"))
                self.send_response(status)
                for name, value in HEADERS.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", f"{kind}; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with suppress(OSError):  # the browser has gone
                    self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """Nothing: the path is a secret, and the screen is the figure's."""

        return Handler

"""A proxy before an MLflow server, at which chosen requests fail."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = ("cut", "lost", "500", "503", "401")
"""cut, lost: the server obeys, and its answer is cut in mid-body or lost; else the status of an answer that
the proxy gives itself."""
HOP = ("transfer-encoding", "connection", "content-length")


class Proxy(ThreadingHTTPServer):
    """Forwards to a port of this host, but for the requests that `choose` lets fail."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = port
        self.choose: Callable[[int, str], str] = lambda number, request: ""
        """The fault of a request, by its number from 0 and its method and path; empty: none."""
        self.seen = 0
        self.failed = ""
        """Method and path of the last request that failed."""
        self.lock = threading.Lock()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: connections are cut on purpose."""

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fail(self, at: int, fault: str) -> None:
        """Count anew, and let that request fail."""
        self.seen, self.failed = 0, ""
        self.choose = lambda number, request: fault if number == at else ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _forward(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        request = f"{self.command} {self.path.partition('?')[0]}"
        with self.server.lock:
            fault = self.server.choose(self.server.seen, request)
            self.server.seen += 1
        if fault:
            self.server.failed = request
        if fault == "{}":
            self._answer(200, [("Content-Type", "application/json")], b"{}")
            return
        if fault.isdecimal():
            self._answer(int(fault), [], b"failed on purpose")
            return
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        headers = {key: value for key, value in self.headers.items() if key.lower() != "connection"}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        kept = [(key, value) for key, value in answer.getheaders() if key.lower() not in HOP]
        connection.close()
        if fault == "lost":
            self.close_connection = True
            self.connection.close()
        else:
            self._answer(answer.status, kept, content, cut=fault == "cut")

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, cut: bool = False) -> None:
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body) + cut))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _forward  # noqa: N815


@contextmanager
def proxy(port: int) -> Iterator[Proxy]:
    """A proxy that runs in a thread of this process."""
    with Proxy(port) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()

"""The worker's HTTP port: /metrics for Prometheus; /startupz, /livez and /readyz for the platform.

Built by the service, served by threads of its own, so it answers while the event loop is stuck and during the drain,
until `stop`. Strangers may reach this port: connections are few, short-lived and read-only, and an exception never
shows.
"""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Protocol
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from daemon.errors import StartupError

CONNECTIONS = 16
REQUEST_SECONDS = 5.0
JSON = "application/json"
GZIP_FROM = 1024

_Request = socket.socket | tuple[bytes, socket.socket]
Answer = tuple[HTTPStatus, str, bytes]


class Probes(Protocol):
    """What the worker says of itself: lists of problems, empty when all is well.

    Called from the port's threads; must not wait for anything.
    """

    def live(self) -> list[str]:
        """Problems that only a restart fixes (the platform kills without a drain)."""
        ...

    def ready(self) -> list[str]:
        """Why no new work is taken."""
        ...

    def started(self) -> bool:
        """Whether the start is over."""
        ...


class HealthServer:
    """Serves metrics and probes on `host`:`port` (0 picks a free one) between `start` and `stop`."""

    def __init__(self, registry: CollectorRegistry, probes: Probes, host: str = "0.0.0.0", port: int = 9090) -> None:
        self._registry = registry
        self._probes = probes
        self._address = (host, port)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that is served; 0 before `start` when any is wanted."""
        return self._address[1] if self._server is None else int(self._server.server_address[1])

    def start(self) -> None:
        """Serve from now on. Raises StartupError when the port cannot be bound."""
        try:
            self._server = _Server(self._address, self._answer)
        except OSError as error:
            place = f"{self._address[0]}:{self._address[1]}"
            fix = "export HEADCOUNT_HTTP_PORT=0"
            raise StartupError(f"The health port {place} cannot be bound: {error.strerror}.", fix) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.25,), name="headcount-health", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Serve no more; returns within a second, whatever clients do."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join(1)
            self._server.server_close()
            self._server.close_older_than(0)
            self._server = self._thread = None

    def _answer(self, path: str, accept: str) -> Answer | None:
        match path:
            case "/metrics":
                encode, content_type = choose_encoder(accept)
                return HTTPStatus.OK, content_type, encode(self._registry)
            case "/livez":
                return _verdict(self._probes.live())
            case "/readyz":
                return _verdict(self._probes.ready())
            case "/startupz":
                return _verdict([] if self._probes.started() else ["the worker is still starting"])
            case _:
                return None


class _Server(ThreadingMixIn, HTTPServer):
    """A thread per connection, at most CONNECTIONS of them, none for longer than REQUEST_SECONDS seconds."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], answer: Callable[[str, str], Answer | None]) -> None:
        self.answer = answer
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._open: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        self._threads_left = threading.Semaphore(CONNECTIONS)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without the reverse look-up of the host's name, which can take seconds."""
        super(HTTPServer, self).server_bind()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def verify_request(self, request: _Request, client_address: object) -> bool:
        """Take a connection when there is a thread for it; the oldest one has to go if there is none."""
        if not self._threads_left.acquire(blocking=False):
            with self._lock:
                oldest = min(self._open, key=self._open.__getitem__, default=None)
            if oldest is not None:
                self._cut(oldest)
            if not self._threads_left.acquire(timeout=1):
                return False
        with self._lock:
            self._open[_socket(request)] = time.monotonic()
        return True

    def process_request(self, request: _Request, client_address: object) -> None:
        """Start the thread."""
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no more threads on this machine: the connection is closed, the port goes on
            self._threads_left.release()
            raise

    def process_request_thread(self, request: _Request, client_address: object) -> None:
        """The thread: one request, then make room."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._threads_left.release()

    def service_actions(self) -> None:
        """Called by the serving loop four times a second: end connections of slow clients."""
        self.close_older_than(REQUEST_SECONDS)

    def close_older_than(self, seconds: float) -> None:
        """Cut every connection that has been open for so long."""
        limit = time.monotonic() - seconds
        with self._lock:
            old = [connection for connection, opened in self._open.items() if opened <= limit]
        for connection in old:
            self._cut(connection)

    def shutdown_request(self, request: _Request) -> None:
        """Forget a connection when its thread is done with it."""
        with self._lock:
            self._open.pop(_socket(request), None)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Log nothing for a client that disconnected or was cut."""

    def _cut(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.pop(connection, None)
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


class _Handler(BaseHTTPRequestHandler):
    """One request: GET or HEAD of a known path."""

    server: _Server
    timeout = REQUEST_SECONDS
    server_version = "headcount"
    sys_version = ""

    def do_GET(self) -> None:
        self._reply(with_body=True)

    def do_HEAD(self) -> None:
        self._reply(with_body=False)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses by itself: unknown methods and lines that are not HTTP."""
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
        self.close_connection = True
        self.send_response(status)
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self._send_body(JSON, _body(status.phrase), with_body=True)

    def log_message(self, format: str, *args: object) -> None:
        """Probes and scrapes are no log lines."""

    def _reply(self, *, with_body: bool) -> None:
        try:
            answer = self.server.answer(urlsplit(self.path).path, self.headers.get("Accept", ""))
        except Exception as error:  # a broken probe is a problem to report, not a text to leak
            answer = HTTPStatus.SERVICE_UNAVAILABLE, JSON, _body(f"the check itself failed: {type(error).__name__}")
        if answer is None:
            answer = HTTPStatus.NOT_FOUND, JSON, _body("try /metrics, /livez, /readyz or /startupz")
        status, content_type, body = answer
        self.send_response(status)
        if len(body) > GZIP_FROM and "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, compresslevel=1)
            self.send_header("Content-Encoding", "gzip")
        self._send_body(content_type, body, with_body=with_body)

    def _send_body(self, content_type: str, body: bytes, *, with_body: bool) -> None:
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(body)


def _socket(request: _Request) -> socket.socket:
    return request if isinstance(request, socket.socket) else request[1]


def _verdict(problems: list[str]) -> Answer:
    status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
    return status, JSON, json.dumps({"ok": not problems, "problems": problems}).encode() + b"\n"


def _body(problem: str) -> bytes:
    return json.dumps({"ok": False, "problems": [problem]}).encode() + b"\n"

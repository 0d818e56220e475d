"""Serves the application until SIGTERM or Ctrl-C: uvicorn on a socket of ours, and the health port beside it.

Called by `headcount api`. SIGTERM ends it within two seconds, whatever clients do.
"""

from __future__ import annotations

import signal
import socket
from importlib.metadata import version

import uvicorn

from daemon.api.app import make_app
from daemon.api.credentials import Credentials, credentials
from daemon.api.links import LinkKeys
from daemon.errors import StartupError
from daemon.settings import Settings
from daemon.telemetry.health import HealthServer
from daemon.telemetry.metrics.registry import MetricsRegistry
from daemon.telemetry.metrics.requests import RequestMetrics

GRACE_SECONDS = 1
BACKLOG = 1024
# A client that reads nothing, or has gone without a word, is given up by the kernel after so long.
SILENCE_MILLISECONDS = 30_000


class _Probes:
    """What the health port says of the API: it is there, or it is starting."""

    def __init__(self, server: uvicorn.Server) -> None:
        self._server = server

    def live(self) -> list[str]:
        return []

    def ready(self) -> list[str]:
        if self._server.should_exit:
            return ["the API is stopping"]
        return [] if self._server.started else ["the API is starting"]

    def started(self) -> bool:
        return self._server.started


def serve(settings: Settings) -> None:
    """Answer until a signal. Raises StartupError for a port that is taken, SettingsInvalid for bad credentials."""
    allowed = credentials(settings)
    LinkKeys.of(settings)
    registry = MetricsRegistry(settings.pool)
    metrics = RequestMetrics(registry)
    app = make_app(settings, allowed, metrics, version("headcount"), lambda: server.should_exit)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = uvicorn.Server(config)
    # uvicorn raises a signal again when it has ended in order, which would end this process by that signal.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    health = HealthServer(registry, _Probes(server), settings.http_host, settings.http_port)
    with _listener(settings) as listener:
        health.start()
        host, port = listener.getsockname()[:2]
        metrics.serving(f"http://{host}:{port}", _word(allowed))
        try:
            server.run([listener])
        finally:
            health.stop()


def _listener(settings: Settings) -> socket.socket:
    host, port = settings.api_host, settings.api_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        fix = "export HEADCOUNT_API_PORT=0"
        raise StartupError(f"The API's port {host}:{port} cannot be bound: {error.strerror}.", fix) from error
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # what is set here, Linux gives to every connection that is accepted
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_MILLISECONDS)
    return listener


def _word(allowed: Credentials) -> str:
    if not allowed.required:
        return "off"
    kinds = ("tokens" if allowed.tokens else "", "accounts" if allowed.accounts else "")
    return " and ".join(filter(None, kinds))

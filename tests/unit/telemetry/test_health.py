"""The health port: what it answers, whoever asks and however."""

import gzip
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPResponse

import pytest

from daemon.errors import StartupError
from daemon.telemetry import health
from daemon.telemetry.health import HealthServer
from daemon.telemetry.metrics import Metrics
from tests.harness.waiting import eventually, until
from tests.unit.telemetry.samples import CLAIM


class Worker:
    """Probes that say what the test wants."""

    def __init__(self) -> None:
        self.stuck: list[str] = []
        self.unready: list[str] = []
        self.up = True

    def live(self) -> list[str]:
        return self.stuck

    def ready(self) -> list[str]:
        return self.unready

    def started(self) -> bool:
        return self.up


class Leaky(Worker):
    def ready(self) -> list[str]:
        raise RuntimeError("postgresql://user:s3cr3t@host")


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(["thumbnail"])


@pytest.fixture
def server(worker: Worker, metrics: Metrics) -> Iterator[HealthServer]:
    server = HealthServer(metrics.registry, worker, "127.0.0.1", 0)
    server.start()
    yield server
    server.stop()


def ask(
    server: HealthServer, path: str, method: str = "GET", **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response: HTTPResponse = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, response.headers, body


def raw(server: HealthServer, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_healthy_worker_answers_200_everywhere(server: HealthServer) -> None:
    for path in ("/livez", "/readyz", "/startupz"):
        status, _, body = ask(server, path)
        assert (status, json.loads(body)) == (200, {"ok": True, "problems": []})


def test_each_probe_names_its_own_problems_and_no_others(server: HealthServer, worker: Worker) -> None:
    worker.unready = ["the database is away", "draining"]
    assert ask(server, "/livez")[0] == 200
    status, _, body = ask(server, "/readyz")
    assert status == 503
    assert json.loads(body)["problems"] == ["the database is away", "draining"]

    worker.stuck, worker.up = ["the event loop has not answered for 61 s"], False
    assert ask(server, "/livez")[0] == 503
    assert ask(server, "/startupz")[0] == 503


def test_metrics_come_in_the_format_that_is_asked_for(server: HealthServer, metrics: Metrics) -> None:
    metrics.started(CLAIM, 1.0)
    status, headers, body = ask(server, "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b'headcount_jobs_started_total{job_name="thumbnail",pool="default"} 1.0' in body

    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    status, headers, body = ask(server, "/metrics", Accept=accept)
    assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")


def test_metrics_are_compressed_for_who_can_read_that(server: HealthServer) -> None:
    _, headers, body = ask(server, "/metrics", Accept_Encoding="gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert b"headcount_slots" in gzip.decompress(body)


def test_head_has_the_headers_of_get_and_no_body(server: HealthServer, worker: Worker) -> None:
    worker.unready = ["draining"]
    status, headers, body = ask(server, "/readyz", "HEAD")
    assert (status, body) == (503, b"")
    assert int(headers["Content-Length"]) > 0


def test_a_query_does_not_change_the_path(server: HealthServer) -> None:
    assert ask(server, "/livez?verbose=1")[0] == 200


@pytest.mark.parametrize("path", ["/", "/metrics/", "/../etc/passwd", "/livezz", "/favicon.ico"])
def test_an_unknown_path_is_not_found(server: HealthServer, path: str) -> None:
    status, headers, body = ask(server, path)
    assert status == 404
    assert headers["Content-Type"] == "application/json"
    assert "/metrics" in json.loads(body)["problems"][0]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_only_get_and_head_are_allowed(server: HealthServer, method: str) -> None:
    status, headers, _ = ask(server, "/metrics", method)
    assert status == 405
    assert headers["Allow"] == "GET, HEAD"


def test_an_exception_of_a_probe_is_a_problem_without_its_text(metrics: Metrics) -> None:
    server = HealthServer(metrics.registry, Leaky(), "127.0.0.1", 0)
    server.start()
    try:
        status, _, body = ask(server, "/readyz")
    finally:
        server.stop()
    assert status == 503
    assert json.loads(body)["problems"] == ["the check itself failed: RuntimeError"]


@pytest.mark.parametrize(
    "request_line",
    [
        b"<script>alert(1)</script>\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_without_an_echo(server: HealthServer, request_line: bytes) -> None:
    answer = raw(server, request_line)
    assert b"200" not in answer.split(b"\r\n")[0]
    assert b"script" not in answer
    assert b"Traceback" not in answer
    assert ask(server, "/livez")[0] == 200


async def test_it_answers_while_the_event_loop_is_stuck(server: HealthServer) -> None:
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(ask(server, "/livez")[0]))
    thread.start()
    thread.join(5)  # the loop that runs this test is blocked by exactly this line
    assert answers == [200]
    await until(lambda: not thread.is_alive())


def test_silent_connections_keep_nobody_out_and_are_cut(server: HealthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "REQUEST_SECONDS", 0.3)
    silent = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(100)]
    assert ask(server, "/livez")[0] == 200
    assert sum("process_request_thread" in thread.name for thread in threading.enumerate()) <= health.CONNECTIONS
    for connection in silent:
        assert connection.recv(1) == b"", "cut by the server"
        connection.close()
    eventually(lambda: not any("process_request_thread" in thread.name for thread in threading.enumerate()))


def test_a_client_that_drips_does_not_hold_its_connection(
    server: HealthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "REQUEST_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as drip:
        drip.settimeout(0.05)

        def is_cut() -> bool:
            try:
                drip.sendall(b"G")
                return drip.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        eventually(is_cut, within=3)


def test_stop_is_quick_and_frees_the_port_although_clients_hang_on(worker: Worker, metrics: Metrics) -> None:
    server = HealthServer(metrics.registry, worker, "127.0.0.1", 0)
    server.start()
    port = server.port
    hanging = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(5)]
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 4, "it waited for its clients, which give up after 5 s"
    again = HealthServer(metrics.registry, worker, "127.0.0.1", port)
    again.start()
    again.stop()
    for connection in hanging:
        connection.close()


def test_a_taken_port_is_a_refusal_to_start_that_says_how_to_fix_it(server: HealthServer, metrics: Metrics) -> None:
    second = HealthServer(metrics.registry, Worker(), "127.0.0.1", server.port)
    with pytest.raises(StartupError, match=f"{server.port}.*HEADCOUNT_HTTP_PORT"):
        second.start()


def test_scrapes_at_the_same_time_all_get_a_whole_answer(server: HealthServer) -> None:
    bodies: list[bytes] = []
    threads = [threading.Thread(target=lambda: bodies.append(ask(server, "/metrics")[2])) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(bodies) == 10
    assert all(b"headcount_worker_info" in body for body in bodies)

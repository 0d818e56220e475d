"""`headcount api` as a real process, and requests to it as any client makes them.

Used by the system tests of the API. It is talked to over HTTP and by signals only.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.harness.worker import WorkerProcess, free_port

EXIT_SECONDS = 5.0  # under two on a machine that does nothing else
READER, OPERATOR = "reader-token-0123456789abcdef", "operator-token-0123456789abcdef"


def tokens(**roles: str) -> str:
    """HEADCOUNT_API_TOKENS for NAME=TOKEN; the role is the name's."""
    return ",".join(f"{name}:{name}:{sha256(token.encode()).hexdigest()}" for name, token in roles.items())


@dataclass(frozen=True)
class Answer:
    """What came back. `json` is its body, parsed."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


class ApiProcess(WorkerProcess):
    """The API; on its health port it is asked like a worker."""

    def __init__(self, environment: Mapping[str, str], folder: Path, **settings: object) -> None:
        self.api_port = free_port()
        own = {f"HEADCOUNT_API_{name.upper()}": str(value) for name, value in settings.items()}
        environment = {**environment, "HEADCOUNT_API_PORT": str(self.api_port), **own}
        super().__init__(environment, folder, command=("api",))

    def ask(
        self,
        path: str,
        body: object = None,
        *,
        method: str | None = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request, whatever its status is. A body is sent as JSON, by POST."""
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if data is not None else {}
        sent |= {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.api_port}{path}", data, {**sent, **(headers or {})}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as refused:
            return Answer(refused.code, refused.headers, refused.read())


class EventSource:
    """One stream, read by a thread of its own until it ends. `events` are (name, id, data) so far."""

    def __init__(self, api: ApiProcess, path: str, last: str = "", *, token: str | None = None) -> None:
        self.events: list[tuple[str, str, Any]] = []
        self.ended = threading.Event()
        self.status = 0
        self._last = last
        headers = {"Last-Event-ID": last} if last else {}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        self._connection = http.client.HTTPConnection("127.0.0.1", api.api_port, timeout=60)
        self._connection.request("GET", path, headers=headers)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def last(self) -> str:
        """The id of the newest event, or the one that it began with."""
        return next((identifier for _, identifier, _ in reversed(self.events) if identifier), self._last)

    def told(self, name: str) -> list[Any]:
        """The data of all events of a name."""
        return [data for event, _, data in self.events if event == name]

    @property
    def facts(self) -> list[int]:
        """The finish numbers that were told, in that order."""
        return [fact["finish_number"] for facts in self.told("facts") for fact in facts]

    @property
    def state(self) -> Any:
        """The newest state that was told, or None."""
        told = [data["state"] if name == "snapshot" else data for name, _, data in self.events if name != "facts"]
        return told[-1] if told else None

    def cut(self) -> None:
        """The network is gone."""
        if self._connection.sock is not None:
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    def _read(self) -> None:
        try:
            answer = self._connection.getresponse()
            self.status = answer.status
            fields: dict[str, str] = {}
            for line in iter(answer.readline, b""):
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                elif "data" in fields:
                    self.events.append((fields["event"], fields["id"], json.loads(fields["data"])))
                    fields = {}
        except (OSError, http.client.HTTPException):
            pass
        finally:
            self.ended.set()

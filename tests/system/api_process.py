"""`headcount api` as a real process, and requests to it as any client makes them.

Used by the system tests of the API. It is talked to over HTTP and by signals only.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.harness.worker import WorkerProcess, free_port

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

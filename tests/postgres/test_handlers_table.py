"""What workers say about their handlers, and what of a job's params is masked by that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, SecretStr

from daemon.postgres.database import sync_engine
from daemon.postgres.handlers import record_handlers, secrets_in_params
from tests.fakes.delivery import a_handler
from tests.postgres.scene import Scene


class Login(BaseModel):
    user: str
    password: SecretStr


class Renamed(BaseModel):
    user: str
    token: SecretStr


def record(scene: Scene, revision: str, kind: Any, name: str = "log_in") -> None:
    """A worker of a revision starts, whose one handler takes this type."""

    def handler(params: object) -> int: ...

    handler.__annotations__["params"] = kind
    engine = sync_engine(scene.url)
    record_handlers(engine, [a_handler(handler, name)], revision)
    engine.dispose()


async def test_a_worker_writes_the_schemas_of_its_handlers_and_where_their_secrets_are(scene: Scene) -> None:
    record(scene, "r1", Login)
    (row,) = await scene.run("SELECT * FROM handler")
    assert (row["name"], row["revision"], row["secrets"]) == ("log_in", "r1", ["/password"])
    assert row["params_schema"]["required"] == ["user", "password"]
    assert row["result_schema"] == {"type": "integer"}


async def test_what_any_revision_called_a_secret_stays_one(scene: Scene) -> None:
    record(scene, "r1", Login)
    record(scene, "r2", Renamed)
    record(scene, "r2", dict)
    assert await secrets_in_params(scene.engine, "log_in") == ("/password", "/token")
    rows = await scene.run("SELECT revision, last_started_at > first_started_at AS again FROM handler ORDER BY 1")
    assert [(row["revision"], row["again"]) for row in rows] == [("r1", False), ("r2", True)]


async def test_of_a_job_that_no_worker_has_described_everything_is_secret(scene: Scene) -> None:
    assert await secrets_in_params(scene.engine, "log_in") == ("",)
    record(scene, "r1", dict)
    assert await secrets_in_params(scene.engine, "log_in") == ()
    record(scene, "r1", Callable[[], int], "odd")
    assert await secrets_in_params(scene.engine, "odd") == ("",)

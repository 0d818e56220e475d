"""`headcount dev`: Postgres, Pub/Sub, a worker and the API on this machine, for as long as somebody works on handlers.

Called by job authors. Data is kept in `.headcount/` between runs; the worker starts again when a handler's file
changes. The worker is the same `headcount run` as in production.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.cli.output import echo_err
from daemon.errors import HandlersInvalid, StartupError

if TYPE_CHECKING:
    from daemon.settings import Settings

FOLDER = Path(".headcount")
POLL_MILLISECONDS = 500


def dev() -> None:
    """Run Postgres, Pub/Sub and a worker here until Ctrl-C; the worker starts again when a handler's file changes."""
    from daemon.cli.local import end_like_ctrl_c, prepare
    from daemon.local.stack import LocalStack, port_near
    from daemon.settings import load

    if find_spec("watchfiles") is None:
        raise StartupError("Watching files needs the extra `local`.", "pip install 'headcount[local]'")
    watched = _handler_files(load(without=("database_url", "project")))
    end_like_ctrl_c()
    try:
        with LocalStack(FOLDER.absolute(), known_ports=True, password=_password()) as stack:
            environment = stack.environment()
            applied = prepare(environment)
            port, api_port = str(port_near(9090)), _api_port()
            _write(environment)
            _announce(environment, stack.postgres_origin, applied, port, api_port)
            _publish_again()
            own = {"HEADCOUNT_HTTP_HOST": "127.0.0.1", "HEADCOUNT_HTTP_PORT": port, "HEADCOUNT_LOG_FORMAT": "console"}
            with _api(environment, api_port):
                _run_worker({**environment, **own}, watched)
    except KeyboardInterrupt:
        echo_err("stopped; the data is kept in .headcount/")


def _api_port() -> int | None:
    """Where the API is to answer; None without the extra that it needs."""
    from daemon.local.stack import port_near

    return None if find_spec("fastapi") is None or find_spec("uvicorn") is None else port_near(8080)


@contextmanager
def _api(environment: Mapping[str, str], port: int | None) -> Iterator[None]:
    """The API in a process of its own, for as long as the worker is served."""
    from daemon.cli.local import LocalWorker

    if port is None:
        yield
        return
    own = {
        "HEADCOUNT_HTTP_HOST": "127.0.0.1",
        "HEADCOUNT_HTTP_PORT": "0",
        "HEADCOUNT_API_HOST": "127.0.0.1",
        "HEADCOUNT_API_PORT": str(port),
        "HEADCOUNT_LOG_FORMAT": "console",
    }
    api = LocalWorker({**environment, **own}, Path.cwd(), None, "api")
    try:
        api.start()
        yield
    finally:
        api.stop()


def _run_worker(environment: Mapping[str, str], watched: list[Path]) -> None:
    """A worker, and a new one after every change, until Ctrl-C."""
    from watchfiles import PythonFilter, watch

    from daemon.cli.local import LocalWorker

    worker = LocalWorker(environment, Path.cwd(), None)
    reported = False
    polls = watch(*watched, watch_filter=PythonFilter(), rust_timeout=POLL_MILLISECONDS, yield_on_timeout=True)
    try:
        worker.start()
        for changes in polls:
            if changes:
                names = sorted({Path(path).name for _, path in changes})
                echo_err(f"{', '.join(names[:3])} changed; the worker starts again", style="bold cyan")
                worker.stop()
                worker.start()
                reported = False
            elif (code := worker.exit_code) is not None and not reported:
                echo_err(f"the worker has ended with exit code {code}; it starts again when you save", "bold red")
                reported = True
    finally:
        worker.stop()


def _publish_again() -> None:
    """Pub/Sub is in memory: it has lost the messages of jobs that waited when it ended."""
    from daemon.cli.connection import with_database

    waiting = with_database(lambda database: database.maintenance.republish(None))
    if waiting:
        echo_err(f"{waiting} of the last run's jobs still wait; they are published again")


def _handler_files(settings: Settings) -> list[Path]:
    """The folders and files of the handler packages. Raises HandlersInvalid when one is not there."""
    from daemon.handler_modules import NEW_REPOSITORY

    paths: list[Path] = []
    for package in settings.packages:
        inside = settings.handlers_path.joinpath(*package.split("."))
        found = [path for path in (inside, inside.with_suffix(".py")) if path.exists()]
        if not found:
            where = settings.handlers_path.resolve()
            raise HandlersInvalid(f"There is no handler package {package!r} in {where}.", NEW_REPOSITORY)
        paths += found
    return paths


def _write(environment: Mapping[str, str]) -> None:
    """`.headcount/env`, to be sourced in another terminal; it holds the password, so only its owner may read it."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in sorted(environment.items())]
    partial = FOLDER / "env.partial"
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(lines)
    partial.replace(FOLDER / "env")


def _password() -> str:
    """The database's: that of the last run, so that other terminals stay connected, else a new one."""
    try:
        text = (FOLDER / "env").read_text()
    except FileNotFoundError:
        text = ""
    found = re.search(r"^export HEADCOUNT_DATABASE_URL=.*//postgres:([\w-]{32,})@", text, re.M)
    return found[1] if found else secrets.token_urlsafe(32)


def _announce(environment: Mapping[str, str], origin: str, applied: list[str], port: str, api_port: int | None) -> None:
    facts = (
        f"Postgres  {environment['HEADCOUNT_DATABASE_URL']}",
        f"          {origin}",
        f"Pub/Sub   {environment['PUBSUB_EMULATOR_HOST']}, project {environment['HEADCOUNT_PROJECT']}",
        f"Schema    {'applied ' + ', '.join(applied) if applied else 'up to date'}",
        f"Worker    http://127.0.0.1:{port}/metrics, /readyz",
        "API       needs: pip install 'headcount[api]'"
        if api_port is None
        else f"API       http://127.0.0.1:{api_port}/v1/orchestrations, /v1/openapi.json",
        "",
        "In another terminal:",
    )
    commands = (f"source {FOLDER}/env", "headcount handlers", "headcount kickoff NAME --param key=value --wait")
    for fact in facts:
        echo_err(fact)
    for command in commands:
        echo_err(f"  {command}", style="bold green")
    echo_err("Ctrl-C stops everything; the data stays.")
    echo_err("")

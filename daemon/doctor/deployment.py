"""Whether these settings and this Dockerfile are those of production: for `headcount doctor --before-deploy`.

Called by `examination` in continuous integration, with the environment of the release. It reads the environment, the
settings and ./Dockerfile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from daemon.doctor.finding import Finding, advice, fatal, loses_work
from daemon.settings import Settings

AREA = "deployment"
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
FINAL = re.compile(r"^\s*(ENTRYPOINT|CMD)\s+(.*)$", re.MULTILINE | re.IGNORECASE)


def check_environment(settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Settings that are right on a developer's machine only."""
    emulator = environment.get("PUBSUB_EMULATOR_HOST")
    if emulator:
        what = f"PUBSUB_EMULATOR_HOST is set ({emulator})."
        why = "The workers would pull from an emulator: no job of production ever arrives."
        yield fatal(AREA, what, why, "unset PUBSUB_EMULATOR_HOST")
    if settings.project == "local":
        what = "HEADCOUNT_PROJECT is `local`, the project of `headcount dev`."
        fix = "export HEADCOUNT_PROJECT=$GOOGLE_CLOUD_PROJECT"
        yield fatal(AREA, what, "No such topics exist in Google Cloud.", fix)
    url = urlsplit(settings.database_url.get_secret_value())
    # A service account that logs in by its token (.iam) needs the proxy beside the worker.
    if url.hostname in LOCAL_HOSTS and not unquote(url.username or "").endswith(".iam"):
        what = f"HEADCOUNT_DATABASE_URL points to {url.hostname}."
        why = "In production that is right only with a proxy beside the worker, where the worker logs in by IAM."
        fix = "export HEADCOUNT_DATABASE_URL='postgresql://headcount-worker%40PROJECT.iam@127.0.0.1:5432/headcount'"
        yield advice(AREA, what, why, fix)
    if settings.log_format != "json":
        why = "Cloud Logging can't find a job's lines by its id, and every severity is DEFAULT."
        yield advice(AREA, "HEADCOUNT_LOG_FORMAT is console.", why, "export HEADCOUNT_LOG_FORMAT=json")
    if settings.http_port == 0:
        why = "The platform's probes look at a fixed one, find nobody, and the rollout never becomes ready."
        yield loses_work(AREA, "HEADCOUNT_HTTP_PORT is 0: any free port.", why, "export HEADCOUNT_HTTP_PORT=9090")


def check_dockerfile(path: Path) -> Iterator[Finding]:
    """Whether the image's last ENTRYPOINT or CMD goes through a shell."""
    try:
        text = path.read_text()
    except OSError:
        return
    last = {found.group(1).upper(): found.group(2).strip() for found in FINAL.finditer(text)}
    for word, command in last.items():
        if not command.startswith("[") and not (word == "CMD" and "ENTRYPOINT" in last and not command):
            parts = ", ".join(f'"{part}"' for part in command.removeprefix("exec ").split())
            what = f"{path.name} starts the worker through a shell: {word} {command}"
            why = "The shell is process 1 and does not pass SIGTERM on: at every rollout jobs are killed, not drained."
            yield loses_work(AREA, what, why, f"{word} [{parts}]")

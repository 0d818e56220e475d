"""One deployment for the tests of the doctor: its environment, its examination, and what carries out printed commands.

Used by test_doctor. `headcount`, `psql`, `pip`, `export` and `unset` are carried out as they stand; a `gcloud pubsub`
command can't reach the embedded server and is done there by the same call of the API.
"""

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
import psycopg
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import Subscription
from typer.testing import CliRunner, Result

from daemon.cli.app import app
from daemon.local.postgres import EmbeddedPostgres
from daemon.local.pubsub.control import Control

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = Path(sys.executable).parent / "headcount"
ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")
Finding = dict[str, str]
GOOD: dict[str, object] = {
    "ack_deadline_seconds": 60,
    "expiration_policy": {},
    "retry_policy": {"minimum_backoff": {"seconds": 1}, "maximum_backoff": {"seconds": 600}},
}


@dataclass
class Servers:
    """The servers of all deployments."""

    server: EmbeddedPostgres
    pubsub: str
    project: str
    folder: Path

    def superuser(self, database: str = "postgres") -> str:
        return self.server.url(database)

    def run(self, statement: str, database: str = "postgres") -> None:
        with psycopg.connect(self.superuser(database), autocommit=True) as connection:
            connection.execute(statement)


@dataclass
class Deployment:
    """One environment. `exit_code` is that of the last examination."""

    name: str
    superuser: str
    environment: dict[str, str]
    exit_code: int = -1

    @property
    def project(self) -> str:
        return self.environment["HEADCOUNT_PROJECT"]

    # -- the examination ---------------------------------------------------------------------------

    def findings(self, *options: str) -> list[Finding]:
        result = self._invoke(["doctor", "--json", *options], {})
        self.exit_code = result.exit_code
        assert result.stdout.startswith("{"), (result.output, result.exception)
        found: list[Finding] = json.loads(result.stdout)["findings"]
        return found

    def only_finding(self, severity: str, what: str, *options: str) -> Finding:
        findings = self.findings(*options)
        assert len(findings) == 1, findings
        return self.worst_finding(severity, what, *options)

    def worst_finding(self, severity: str, what: str, *options: str) -> Finding:
        findings = self.findings(*options)
        assert findings, "nothing was found"
        assert (findings[0]["severity"], self.exit_code) == (severity, 1), findings
        assert what in findings[0]["what"], findings
        return findings[0]

    def until_found(self, what: str) -> None:
        """A reload reaches the server's processes a moment later."""
        end = time.monotonic() + 5
        while not any(what in finding["what"] for finding in self.findings("--only", "database")):
            assert time.monotonic() < end, f"never found: {what}"

    def is_fixed_by(self, finding: Finding, *options: str) -> None:
        """Carry out what the finding prints, and assert that nothing is wrong any more."""
        self.carry_out(finding["fix"])
        end = time.monotonic() + 5
        while self.findings(*options) and time.monotonic() < end:
            time.sleep(0.05)
        assert self.findings(*options) == []
        assert self.exit_code == 0

    # -- printed commands ----------------------------------------------------------------------------

    def carry_out(self, command: str) -> None:
        for part in command.split("  # ")[0].split(" && "):
            words = shlex.split(part)
            before = dict(word.split("=", 1) for word in itertools.takewhile(ASSIGNMENT.fullmatch, words))
            words = words[len(before) :]
            match words[0]:
                case "headcount":
                    self.headcount(*words[1:], variables=before)
                case "export":
                    name, _, value = words[1].partition("=")
                    self.environment[name] = value
                case "unset":
                    del self.environment[words[1]]
                case "psql":
                    self._psql(words)
                case "pip":
                    subprocess.run([sys.executable, "-m", "pip", "--quiet", *words[1:]], check=True)
                case "gcloud":
                    self._gcloud(words)
                case _:
                    raise AssertionError(f"who carries this out? {part}")

    def headcount(self, *words: str, code: int = 0, variables: Mapping[str, str] | None = None) -> str:
        result = self._invoke(list(words), variables or {})
        assert result.exit_code == code, (words, result.output, result.exception)
        return result.stdout

    def process(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The installed command, as a process."""
        return subprocess.run(
            [COMMAND, *words], env=self._whole_environment(), capture_output=True, text=True, check=False
        )

    def in_its_own_pid_namespace(self, script: str) -> subprocess.CompletedProcess[str]:
        """The script as process 1, in a shell, with no terminal."""
        command = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script]
        return subprocess.run(
            command,
            env=self._whole_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def _whole_environment(self) -> dict[str, str]:
        path = f"{COMMAND.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return {"PATH": path, "PYTHONPATH": str(REPOSITORY), **self.environment}

    def _invoke(self, words: list[str], variables: Mapping[str, str]) -> Result:
        names = {name for name in os.environ if name.startswith(("HEADCOUNT_", "PUBSUB_"))}
        cleared: dict[str, str | None] = dict.fromkeys(names, None)
        return CliRunner().invoke(app, words, env={**cleared, **self.environment, **variables}, prog_name="headcount")

    def _psql(self, words: list[str]) -> None:
        if shutil.which("psql"):
            subprocess.run(
                [*words[:1], "--quiet", "-v", "ON_ERROR_STOP=1", *words[1:]], check=True, stdout=subprocess.DEVNULL
            )
            return
        with psycopg.connect(words[1], autocommit=True) as connection:
            for option in words[2:]:
                connection.execute(option.removeprefix("--command="))

    def _gcloud(self, words: list[str]) -> None:
        match words[1:5]:
            case ["pubsub", "subscriptions", "delete", name]:
                self.delete_subscription(name)
            case ["pubsub", ("topics" | "subscriptions") as kind, "add-iam-policy-binding", name]:
                options = dict(word.removeprefix("--").split("=", 1) for word in words[5:])
                self._grant(f"{kind}/{name}", options["role"], options["member"])
            case _:
                raise AssertionError(f"who carries this out? {words}")

    def _grant(self, resource: str, role: str, member: str) -> None:
        if "gcp-sa-pubsub" in member:
            self.set_policy(resource, role, re.sub(r"\$\(.*\)", "123456", member))
        else:  # on the embedded server an account has what was not denied
            with Control(self.environment["PUBSUB_EMULATOR_HOST"]) as control:
                control.allow("pubsub.subscriptions.consume", resource=f"projects/{self.project}/{resource}")

    # -- ways to break it ----------------------------------------------------------------------------

    def replace_subscription(self, *, topic: str = "jobs", good: bool = False, **terms: object) -> None:
        """Make jobs-worker anew: by default on the service's own terms, which lose jobs."""
        self.delete_subscription("jobs-worker")
        letters = {"dead_letter_topic": f"projects/{self.project}/topics/jobs-dead", "max_delivery_attempts": 100}
        fitting = {**GOOD, "dead_letter_policy": letters} if good else {}
        name, path = f"projects/{self.project}/subscriptions/jobs-worker", f"projects/{self.project}/topics/{topic}"
        with self._subscriptions() as client:
            client.create_subscription(Subscription({"name": name, "topic": path, **fitting, **terms}))

    def delete_subscription(self, name: str) -> None:
        with self._subscriptions() as client:
            client.delete_subscription(subscription=f"projects/{self.project}/subscriptions/{name}")

    def set_policy(self, resource: str, role: str, member: str) -> None:
        request = {
            "resource": f"projects/{self.project}/{resource}",
            "policy": {"bindings": [{"role": role, "members": [member]}]},
        }
        with self._topics() if resource.startswith("topics") else self._subscriptions() as client:
            client.set_iam_policy(request=request)

    def _topics(self) -> PublisherClient:
        return PublisherClient(transport=PublisherGrpcTransport(channel=self._channel()))

    def _subscriptions(self) -> SubscriberClient:
        return SubscriberClient(transport=SubscriberGrpcTransport(channel=self._channel()))

    def _channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.environment["PUBSUB_EMULATOR_HOST"])


def built_package(name: str, folder: Path) -> Path:
    """A wheel with one empty module, made without any tool."""
    folder.mkdir()
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    about = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    return wheel


def python_daemon_lookalike(site: Path) -> Path:
    """What installing python-daemon leaves behind in a site folder, as far as anybody can ask for it."""
    about = site / "python_daemon-3.1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: python-daemon\nVersion: 3.1.0\n")
    (about / "RECORD").write_text("daemon/__init__.py,,\n")
    return site

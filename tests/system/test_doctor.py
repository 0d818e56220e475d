"""`headcount doctor` in environments broken for real: each is found, named, and fixed by the command it prints."""

import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.local.postgres import EmbeddedPostgres
from daemon.local.pubsub.control import Control
from tests.system.doctor_deployments import Deployment, Servers, built_package, python_daemon_lookalike

HANDLER = """
from daemon import job

@job("{name}", timeout=5)
async def {name}(params: dict) -> dict:
    return params
"""


@pytest.fixture(scope="module")
def durable_postgres() -> Iterator[EmbeddedPostgres]:
    """A server that keeps its promises, as one in production would; the usual embedded one does not."""
    folder = Path(tempfile.mkdtemp(prefix="headcount-doctor-"))
    folder.chmod(0o711)
    with EmbeddedPostgres(folder / "postgres", durable=True, settings={"shared_buffers": "16MB"}) as server:
        yield server
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def servers(
    durable_postgres: EmbeddedPostgres,
    pubsub_server: str,
    project: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Servers]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    servers = Servers(durable_postgres, pubsub_server, project, tmp_path)
    yield servers
    servers.run("ALTER SYSTEM RESET ALL")
    servers.run("SELECT pg_reload_conf()")


@pytest.fixture
def bare(servers: Servers) -> Deployment:
    """An empty database, a role that owns it, a handler, and nothing in Pub/Sub."""
    name = servers.project.replace("-", "_")
    servers.run(f'CREATE ROLE "{name}" LOGIN')
    servers.run(f'CREATE DATABASE "{name}" OWNER "{name}"')
    package = servers.folder / f"handlers_{name}"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "resize.py").write_text(HANDLER.format(name="resize"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = servers.server.url(name).replace("postgres@", f"{name}@")
    return Deployment(
        name,
        servers.superuser(),
        {
            "HEADCOUNT_DATABASE_URL": url,
            "HEADCOUNT_PROJECT": servers.project,
            "HEADCOUNT_HANDLERS": package.name,
            "HEADCOUNT_HANDLERS_PATH": str(servers.folder),
            "HEADCOUNT_HTTP_HOST": "127.0.0.1",
            "HEADCOUNT_HTTP_PORT": str(port),
            "PUBSUB_EMULATOR_HOST": servers.pubsub,
        },
    )


@pytest.fixture
def deployment(bare: Deployment) -> Deployment:
    """Everything as it should be, for a test to break one thing."""
    bare.headcount("migrate")
    bare.headcount("provision")
    return bare


@pytest.fixture
def control(servers: Servers) -> Iterator[Control]:
    with Control(servers.pubsub) as control:
        yield control


def test_a_healthy_environment_has_no_finding_at_all(deployment: Deployment) -> None:
    assert deployment.findings() == []
    assert deployment.exit_code == 0


def test_1_a_database_without_its_tables(bare: Deployment) -> None:
    bare.headcount("provision")
    found = bare.only_finding("fatal", "lacks the migrations")
    assert found["fix"] == "headcount migrate"
    assert bare.exit_code == 1
    bare.is_fixed_by(found)


def test_2_a_role_that_may_not_write(deployment: Deployment, servers: Servers) -> None:
    servers.run(f'REVOKE UPDATE, DELETE ON "job" FROM "{deployment.name}"', deployment.name)
    found = deployment.only_finding("fatal", f"{deployment.name} lacks DELETE, UPDATE on the table job.")
    deployment.is_fixed_by(found)


def test_3_a_server_that_does_not_wait_for_its_disk(deployment: Deployment, servers: Servers) -> None:
    servers.run("ALTER SYSTEM SET fsync = off")
    servers.run("SELECT pg_reload_conf()")
    deployment.until_found("fsync is off")
    found = deployment.only_finding("loses_work", "fsync is off (set by: configuration file).")
    deployment.is_fixed_by(found)


def test_4_a_database_whose_commits_return_before_they_are_kept(deployment: Deployment, servers: Servers) -> None:
    servers.run(f'ALTER DATABASE "{deployment.name}" SET synchronous_commit = off')
    found = deployment.only_finding("loses_work", "synchronous_commit is off (set by: database).")
    deployment.is_fixed_by(found)


def test_5_a_read_only_database(deployment: Deployment, servers: Servers) -> None:
    servers.run(f'ALTER DATABASE "{deployment.name}" SET default_transaction_read_only = on')
    found = deployment.only_finding("fatal", "default_transaction_read_only is on")
    deployment.is_fixed_by(found)


def test_6_too_few_connections_for_the_pool(deployment: Deployment, servers: Servers) -> None:
    servers.run(f'ALTER ROLE "{deployment.name}" CONNECTION LIMIT 10')
    found = deployment.only_finding("loses_work", "3 instances take 12 connections", "--instances", "3")
    assert "leaves 10" in found["what"]
    deployment.is_fixed_by(found, "--instances", "3")


def test_7_a_hot_table_that_is_never_vacuumed(deployment: Deployment, servers: Servers) -> None:
    servers.run('ALTER TABLE "job" SET (autovacuum_enabled = off)', deployment.name)
    found = deployment.only_finding("loses_work", "autovacuum is off for the table job.")
    deployment.is_fixed_by(found)


def test_8_topics_and_subscriptions_that_nobody_made(bare: Deployment) -> None:
    bare.headcount("migrate")
    findings = bare.findings()
    assert {finding["fix"] for finding in findings} == {"headcount provision"}
    whats = [finding["what"] for finding in findings if finding["severity"] == "fatal"]
    assert [what.rsplit("/", 1)[1] for what in whats] == [
        "jobs does not exist.",
        "job-events does not exist.",
        "jobs-worker does not exist.",
    ]
    bare.is_fixed_by(findings[0])


def test_9_a_subscription_left_with_the_service_s_own_defaults(deployment: Deployment) -> None:
    deployment.replace_subscription()
    whats = " ".join(finding["what"] for finding in deployment.findings())
    for word in ("expires after 31 days", "ack deadline", "no retry policy", "go to nowhere"):
        assert word in whats
    assert {finding["fix"] for finding in deployment.findings()} == {"headcount provision --repair"}
    assert deployment.exit_code == 1
    deployment.is_fixed_by(deployment.findings()[0])


def test_10_a_subscription_of_another_topic(deployment: Deployment) -> None:
    deployment.replace_subscription(topic="job-events")
    found = deployment.worst_finding("fatal", "is attached to")
    assert "would lose the messages it holds" in found["why"]
    assert "delete" not in found["fix"]
    deployment.is_fixed_by(found)


def test_11_an_account_that_may_not_pull(deployment: Deployment, control: Control) -> None:
    subscription = f"projects/{deployment.project}/subscriptions/jobs-worker"
    control.deny("pubsub.subscriptions.consume", resource=subscription)
    found = deployment.only_finding("fatal", f"This account may not pull from the subscription {subscription}.")
    assert "--role=roles/pubsub.subscriber" in found["fix"]
    deployment.is_fixed_by(found)


def test_12_dead_letters_that_nobody_keeps(deployment: Deployment) -> None:
    deployment.delete_subscription("jobs-dead-worker")
    found = deployment.worst_finding("loses_work", "jobs-dead-worker does not exist")
    deployment.is_fixed_by(found)


def test_13_dead_letters_that_pubsub_may_not_forward(deployment: Deployment) -> None:
    deployment.set_policy("topics/jobs-dead", "roles/pubsub.publisher", "serviceAccount:other@iam.gserviceaccount.com")
    found = deployment.only_finding("loses_work", "Pub/Sub's own account has no roles/pubsub.publisher")
    assert found["fix"].startswith("gcloud pubsub topics add-iam-policy-binding jobs-dead ")
    deployment.is_fixed_by(found)


def test_14_a_handler_whose_jobs_no_filter_lets_through(deployment: Deployment, servers: Servers) -> None:
    deployment.replace_subscription(filter='attributes.job_name = "resize"', good=True)
    package = servers.folder / deployment.environment["HEADCOUNT_HANDLERS"]
    (package / "crop.py").write_text(HANDLER.format(name="crop"))
    found = deployment.worst_finding("loses_work", "No subscription of the topic lets these jobs through: crop.")
    deployment.carry_out(found["fix"])
    left = deployment.findings()
    assert [finding["severity"] for finding in left] == ["advice"], left  # another pool runs it now
    assert "keeps these handlers idle: crop" in left[0]["what"]


def test_15_a_filter_for_jobs_without_a_handler(deployment: Deployment, servers: Servers) -> None:
    deployment.replace_subscription(filter='attributes.job_name = "resize" OR attributes.job_name = "zoom"', good=True)
    found = deployment.only_finding("fatal", "lets through jobs without a handler here: zoom.")
    assert "Deploy handlers named zoom" in found["why"]
    deployment.is_fixed_by(found)
    del deployment.environment["HEADCOUNT_JOBS_SUBSCRIPTION"]
    (servers.folder / deployment.environment["HEADCOUNT_HANDLERS"] / "zoom.py").write_text(HANDLER.format(name="zoom"))
    assert deployment.findings() == []


def test_16_a_handler_whose_library_is_not_installed(
    deployment: Deployment, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = f"pixels_{deployment.name}"
    package = servers.folder / deployment.environment["HEADCOUNT_HANDLERS"]
    (package / "blur.py").write_text(f"import {library}\n" + HANDLER.format(name="blur"))
    found = deployment.only_finding("fatal", f"No module named '{library}'")
    assert found["fix"] == f"pip install {library}"
    built_package(library, servers.folder / "wheels")
    for name, value in (("NO_INDEX", "1"), ("FIND_LINKS", "wheels"), ("TARGET", str(servers.folder))):
        monkeypatch.setenv(f"PIP_{name}", value)
    deployment.is_fixed_by(found)


def test_17_a_health_port_that_another_program_has(deployment: Deployment) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(deployment.environment["HEADCOUNT_HTTP_PORT"])))
        other.listen()
        found = deployment.only_finding("fatal", "cannot be bound: Address already in use.")
        deployment.is_fixed_by(found)


def test_18_a_release_that_would_talk_to_an_emulator(deployment: Deployment) -> None:
    found = deployment.only_finding("fatal", "PUBSUB_EMULATOR_HOST is set", "--before-deploy", "--only", "worker")
    deployment.is_fixed_by(found, "--before-deploy", "--only", "worker")


def test_19_a_dockerfile_that_puts_a_shell_in_between(deployment: Deployment, servers: Servers) -> None:
    deployment.environment.pop("PUBSUB_EMULATOR_HOST")
    dockerfile = servers.folder / "Dockerfile"
    dockerfile.write_text("FROM headcount\nENTRYPOINT headcount run\n")
    found = deployment.only_finding("loses_work", "through a shell", "--before-deploy", "--only", "worker")
    dockerfile.write_text(f"FROM headcount\n{found['fix']}\n")
    assert deployment.findings("--before-deploy", "--only", "worker") == []
    assert 'ENTRYPOINT ["headcount", "run"]' in dockerfile.read_text()


def test_20_python_daemon_beside_headcount(deployment: Deployment, servers: Servers) -> None:
    site = python_daemon_lookalike(servers.folder / "site")
    sys.path.append(str(site))
    found = deployment.only_finding("fatal", "The distribution python-daemon 3.1.0 is installed")
    assert found["fix"].startswith("pip uninstall --yes python-daemon && pip install")
    shutil.rmtree(site)  # what the first half of it does; the second restores files that were never overwritten here
    assert deployment.findings() == []


def test_21_a_shell_as_process_1(deployment: Deployment) -> None:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("needs root and unshare (apt install util-linux)")
    wrapped = deployment.in_its_own_pid_namespace("headcount doctor --only worker --json; exit $?")
    (finding,) = json.loads(wrapped.stdout)["findings"]
    assert finding["what"] == "Process 1 is the shell `sh`, and Headcount is its child."
    assert wrapped.returncode == 1
    fixed = deployment.in_its_own_pid_namespace("exec headcount doctor --only worker --json")
    assert json.loads(fixed.stdout)["findings"] == []
    assert fixed.returncode == 0


def test_what_can_not_be_asked_is_exit_code_2_and_hides_nothing_else(deployment: Deployment, servers: Servers) -> None:
    deployment.environment["HEADCOUNT_DATABASE_URL"] = "postgresql://nobody:secret@127.0.0.1:1/none"
    deployment.replace_subscription()
    findings = deployment.findings()
    assert deployment.exit_code == 2
    (unchecked,) = [finding for finding in findings if finding["severity"] == "unchecked"]
    assert unchecked["what"].startswith("The database cannot be queried: ")
    assert "secret" not in json.dumps(findings)
    assert any("no retry policy" in finding["what"] for finding in findings)


def test_people_read_sentences_with_the_command_on_a_line_of_its_own(bare: Deployment) -> None:
    said = bare.headcount("doctor", "--only", "database", code=1)
    assert "no worker runs like this (database): The database" in said
    assert "\n  headcount migrate\n" in said


def test_a_missing_setting_is_exit_code_2_and_names_the_command(deployment: Deployment) -> None:
    del deployment.environment["HEADCOUNT_PROJECT"]
    done = deployment.process("doctor")
    assert done.returncode == 2
    assert "export HEADCOUNT_PROJECT=my-project" in done.stderr

"""What the doctor prints for a worker with a role of its own, and for what holds messages: done literally, it suffices.

The worker refuses to start on what is fatal, with the same sentence and command.
"""

import json

import psycopg
import pytest
from google.pubsub_v1 import PublisherClient, SubscriberClient

from daemon.doctor.database import TABLES
from tests.system.doctor_deployments import Deployment, Servers
from tests.system.test_doctor import HANDLER, bare, deployment, durable_postgres, servers

__all__ = ["bare", "deployment", "durable_postgres", "servers"]


@pytest.fixture
def least(deployment: Deployment, servers: Servers) -> Deployment:
    """The same with a role for the worker that owns nothing and was granted nothing."""
    role = f"{deployment.name}_w"
    servers.run(f'CREATE ROLE "{role}" LOGIN')
    owner = f"{deployment.name}@"
    url = deployment.environment["HEADCOUNT_DATABASE_URL"]
    assert owner in url
    deployment.environment["HEADCOUNT_DATABASE_URL"] = url.replace(owner, f"{role}@")
    return deployment


def run_refuses(deployment: Deployment) -> str:
    done = deployment.process("run")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_no_grants_at_all_is_one_command_that_covers_later_tables_too(least: Deployment, servers: Servers) -> None:
    found = least.only_finding("fatal", f"lacks privileges on {len(TABLES) + 1} tables")
    assert "deploy/grants.sql" in found["fix"]
    said = run_refuses(least)
    assert found["what"] in said
    assert found["fix"] in said
    assert "reached" not in said
    kickoff = least.process("kickoff", "resize", "--param", "n=1")
    assert (kickoff.returncode, "Traceback" in kickoff.stderr) == (2, False), kickoff.stderr
    assert "headcount doctor --only database" in kickoff.stderr
    least.is_fixed_by(found)
    servers.run(f'SET ROLE "{least.name}"; CREATE TABLE later (id int); RESET ROLE', least.name)
    with psycopg.connect(least.environment["HEADCOUNT_DATABASE_URL"]) as worker:
        worker.execute("INSERT INTO later VALUES (1)")


def test_a_worker_that_may_not_update_jobs_refuses_to_start_and_says_why(least: Deployment, servers: Servers) -> None:
    least.carry_out(least.findings()[0]["fix"])
    servers.run(f'REVOKE UPDATE ON job FROM "{least.name}_w"', least.name)
    said = run_refuses(least)
    assert f"{least.name}_w lacks UPDATE on the table job." in said
    assert "GRANT UPDATE" in said
    least.is_fixed_by(least.only_finding("fatal", "lacks UPDATE on the table job."))


def test_tables_that_a_later_migration_makes_are_not_forgotten(least: Deployment, servers: Servers) -> None:
    least.carry_out(least.findings()[0]["fix"])
    servers.run(
        f'ALTER DEFAULT PRIVILEGES FOR ROLE "{least.name}" IN SCHEMA public REVOKE ALL ON TABLES FROM "{least.name}_w"',
        least.name,
    )
    (found,) = least.findings()
    assert (found["severity"], least.exit_code) == ("advice", 0)
    assert "makes later" in found["what"]
    least.is_fixed_by(found)


def test_a_migration_is_asked_of_the_owner_when_the_worker_may_not_make_tables(
    bare: Deployment, servers: Servers
) -> None:
    bare.headcount("provision")
    servers.run(f'CREATE ROLE "{bare.name}_w" LOGIN')
    url = bare.environment["HEADCOUNT_DATABASE_URL"]
    bare.environment["HEADCOUNT_DATABASE_URL"] = url.replace(f"{bare.name}@", f"{bare.name}_w@")
    refused = bare.process("migrate")
    assert (refused.returncode, "permission denied" in refused.stderr) == (2, True)
    assert "the role that owns the tables" in refused.stderr
    found = bare.only_finding("fatal", "lacks the migrations")
    assert f"{bare.name}@" in found["fix"]
    bare.carry_out(found["fix"])
    assert "lacks privileges" in bare.findings()[0]["what"]


def test_a_subscription_that_orders_is_replaced_without_losing_what_it_holds(deployment: Deployment) -> None:
    deployment.replace_subscription(good=True, enable_message_ordering=True)
    topic = f"projects/{deployment.project}/topics/jobs"
    with deployment._topics() as publisher:
        _publish(publisher, topic, 5, "before")
    found = deployment.only_finding("loses_work", "orders messages")
    assert "would lose the messages it holds" in found["why"]
    deployment.is_fixed_by(found)
    with deployment._topics() as publisher:
        _publish(publisher, topic, 1, "after")
    with deployment._subscriptions() as client:
        old = _held(client, f"projects/{deployment.project}/subscriptions/jobs-worker")
        new = _held(client, f"projects/{deployment.project}/subscriptions/jobs-worker-2")
    assert (len(old), new) == (6, ["after"]), "a worker on the old one drains it; nothing is gone"


def _publish(client: PublisherClient, topic: str, count: int, body: str) -> None:
    client.publish(topic=topic, messages=[{"data": body.encode(), "attributes": {"job_name": "resize"}}] * count)


def _held(client: SubscriberClient, path: str) -> list[str]:
    return [one.message.data.decode() for one in client.pull(subscription=path, max_messages=100).received_messages]


def test_a_job_name_that_nobody_knows_is_named_with_the_known_ones(deployment: Deployment, servers: Servers) -> None:
    started = deployment.headcount("kickoff", "resise", "--param", "n=1", "--json")
    orchestration = json.loads(started)["id"]
    with psycopg.connect(deployment.environment["HEADCOUNT_DATABASE_URL"]) as database:
        database.execute(
            "WITH tried AS (UPDATE job SET attempt = 1, cause = 'retry' RETURNING id)"
            " INSERT INTO failed_attempt (job_id, attempt, kind, message)"
            " SELECT id, 1, 'UnknownJob', 'no handler is named ''resise'' here' FROM tried"
        )
    found = deployment.only_finding("loses_work", "1 orchestration waits for the job 'resise'")
    assert "did the producer mean resize?" in found["what"]
    assert orchestration in deployment.headcount(*found["fix"].split("  # ")[0].split()[1:])
    explained = deployment.headcount("explain", orchestration)
    assert "UNKNOWN_JOB: 1" in explained
    assert "no handler is named 'resise' here" in explained
    package = servers.folder / deployment.environment["HEADCOUNT_HANDLERS"]
    (package / "resise.py").write_text(HANDLER.format(name="resise"))
    later = deployment.only_finding("loses_work", "which is known here and not to the workers that run")
    assert "as soon as a release with this handler is deployed" in later["fix"]


def test_the_database_of_the_shipped_pool_is_right_before_a_deploy(deployment: Deployment, servers: Servers) -> None:
    options = ("--before-deploy", "--only", "worker")
    deployment.environment.pop("PUBSUB_EMULATOR_HOST")
    deployment.environment["HEADCOUNT_DATABASE_URL"] = (
        "postgresql://headcount-worker%40project.iam@127.0.0.1:5432/headcount"
    )
    assert deployment.findings(*options) == []
    deployment.environment["HEADCOUNT_DATABASE_URL"] = "postgresql://me:secret@127.0.0.1/headcount"
    (found,) = deployment.findings(*options)
    deployment.is_fixed_by(found, *options)


def test_a_local_pubsub_that_is_not_there_is_looked_for_by_http(deployment: Deployment) -> None:
    deployment.environment["PUBSUB_EMULATOR_HOST"] = "127.0.0.1:1"
    (found,) = deployment.findings("--only", "pubsub")
    assert found["fix"] == "curl --verbose http://127.0.0.1:1"

"""A first `terraform apply` on a new project: each thing is there before what needs it. Read from the files only."""

import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from daemon.cli.app import app
from tests.system import terraform_files as module

POOL = "google_cloud_run_v2_worker_pool.worker"
FIRST = "google_cloud_run_v2_job.first_migration"
JOBS = ("migrate", "first_migration", "prune")
SERVICES = {
    "google_cloud_run": "run",
    "google_cloud_scheduler": "cloudscheduler",
    "google_compute": "compute",
    "google_monitoring": "monitoring",
    "google_parameter_manager": "parametermanager",
    "google_project_iam": "cloudresourcemanager",
    "google_pubsub": "pubsub",
    "google_secret_manager": "secretmanager",
    "google_service_account": "iam",
    "google_service_networking": "servicenetworking",
    "google_sql": "sqladmin",
}
RESOURCES: dict[str, dict[str, Any]] = dict(module.blocks("resource"))
PLAIN = [name for name in RESOURCES if name != "google_project_service.needed" and not name.startswith("random_")]


def task_of(job: str) -> dict[str, Any]:
    """The template of a job's task."""
    task: dict[str, Any] = RESOURCES[f"google_cloud_run_v2_job.{job}"]["template"][0]["template"][0]
    return task


@pytest.mark.parametrize("name", PLAIN)
def test_everything_waits_for_the_services_that_it_is_made_by(name: str) -> None:
    assert "google_project_service.needed" in module.awaited(name)


@pytest.mark.parametrize("name", PLAIN)
def test_the_service_that_makes_it_is_enabled(name: str) -> None:
    services = re.findall(r"([a-z]+)\.googleapis\.com", str(RESOURCES["google_project_service.needed"]["for_each"]))
    wanted = [service for kind, service in SERVICES.items() if name.startswith(kind)]
    assert name.startswith("google_project_service_identity") or wanted, f"{name} is made by a service not listed here"
    assert set(wanted) <= set(services)


def test_nothing_is_read_while_planning_that_needs_a_service_of_the_module() -> None:
    assert list(module.blocks("data")) == []


def test_the_pool_waits_for_the_database_its_migration_and_its_rights() -> None:
    assert {
        FIRST,
        "google_sql_database.headcount",
        "google_sql_user.worker",
        "google_project_iam_member.worker",
        "google_pubsub_subscription_iam_member.worker_pulls",
        "google_pubsub_subscription_iam_member.worker_looks",
        "google_pubsub_topic_iam_member.worker_publishes",
    } <= module.awaited(POOL)


def test_the_first_migration_waits_for_the_roles_that_it_is_and_that_it_grants() -> None:
    assert {
        "google_sql_user.migration",
        "google_sql_user.worker",
        "google_secret_manager_secret_version.migration_url",
        "google_secret_manager_secret_iam_member.migration_reads_its_url",
        "google_project_iam_member.migration",
    } <= module.awaited(FIRST)


def test_the_first_migration_runs_when_it_is_made_and_never_again() -> None:
    job = RESOURCES[FIRST]
    assert module.text_of(job["run_execution_token"]) == "once"
    assert module.text_of(job["provider"]) in ("google-beta", "${google-beta}")
    assert module.text_of(job["lifecycle"][0]["ignore_changes"]) in ("all", "${all}")
    assert len("x" * 19 + "-first-migration" + "once") < 63  # the provider's limit, with the longest name of a module


def test_what_failed_can_be_made_again() -> None:
    for name, body in RESOURCES.items():
        if name.startswith("google_cloud_run"):
            assert body.get("deletion_protection", False) is False, f"{name}: a failed one could not be replaced"


@pytest.mark.parametrize("name", JOBS)
def test_a_job_reaches_a_private_database_too(name: str) -> None:
    task = task_of(name)
    dynamic = {kind.strip('"'): body for one in task["dynamic"] for kind, body in one.items() if kind[0] == '"'}
    assert {kind: module.text_of(body["for_each"]) for kind, body in dynamic.items()} == {
        "volumes": "${local.job_sockets}",
        "vpc_access": "${local.job_subnetworks}",
    }


@pytest.mark.parametrize("name", JOBS)
def test_a_job_s_command_exists_with_its_options(name: str) -> None:
    file = "prune.tf" if name == "prune" else "migration.tf"
    arguments = (module.MODULE / file).read_text()
    word, option = re.findall(r'"(migrate|prune)"\]?,.*"(--[a-z-]+)=', arguments)[0]
    command = get_command(app).commands[word]  # type: ignore[attr-defined]
    assert option in {one for parameter in command.params for one in parameter.opts}


def test_pruning_may_ask_how_long_both_subscriptions_keep_their_messages_and_knows_their_names() -> None:
    (account,) = re.findall(r"google_service_account\.(\w+)", str(task_of("prune")["service_account"]))
    looks = RESOURCES["google_pubsub_subscription_iam_member.pruning_looks"]
    assert f"google_service_account.{account}[0].member" in str(looks["member"])
    assert module.text_of(looks["role"]) == "roles/pubsub.viewer"
    assert "google_pubsub_subscription_iam_member.pruning_looks" in module.awaited("google_cloud_run_v2_job.prune")
    named = set(re.findall(r"HEADCOUNT_[A-Z_]+", (module.MODULE / "prune.tf").read_text()))
    assert {f"HEADCOUNT_{name}" for name in ("PROJECT", "JOBS_SUBSCRIPTION", "DEAD_LETTER_SUBSCRIPTION")} <= named


def test_the_database_waits_for_the_private_connection() -> None:
    assert "google_service_networking_connection.database" in module.awaited("google_sql_database_instance.headcount")
    wanted = str(RESOURCES["google_sql_database_instance.headcount"]["lifecycle"][0]["precondition"])
    assert {"private_services_connection", "subnetwork"} <= set(re.findall(r"var\.(\w+)", wanted))


def test_pubsub_s_own_account_is_there_before_it_is_granted_something() -> None:
    for name in (
        "google_pubsub_topic_iam_member.agent_publishes_dead_letters",
        "google_pubsub_subscription_iam_member.agent_acks_dead_letters",
    ):
        assert "google_project_service_identity.pubsub" in module.awaited(name)


def test_a_policy_may_name_a_metric_that_nobody_has_written_yet() -> None:
    (condition,) = RESOURCES["google_monitoring_alert_policy.headcount"]["conditions"]
    assert condition["condition_prometheus_query_language"][0]["disable_metric_validation"] is True


def test_the_autoscaler_has_the_base_that_its_image_lacks() -> None:
    (container,) = RESOURCES["google_cloud_run_v2_service.autoscaler"]["template"][0]["containers"]
    assert "serverless-runtimes/google-24/runtimes/java25" in container["base_image_uri"]
    assert "--base-image=" in (module.MODULE.parent / "autoscaling" / "README.md").read_text()


def test_beta_is_used_for_what_is_beta_only() -> None:
    beta = {name for name, body in RESOURCES.items() if "provider" in body}
    assert beta == {FIRST, "google_project_service_identity.pubsub"}


NAMES = {
    "google_cloud_run_v2_worker_pool": "name",
    "google_cloud_run_v2_job": "name",
    "google_cloud_run_v2_service": "name",
    "google_cloud_scheduler_job": "name",
    "google_compute_global_address": "name",
    "google_monitoring_alert_policy": "display_name",
    "google_parameter_manager_parameter": "parameter_id",
    "google_pubsub_subscription": "name",
    "google_pubsub_topic": "name",
    "google_secret_manager_secret": "secret_id",
    "google_service_account": "account_id",
    "google_sql_database_instance": "name",
}


def test_two_modules_in_one_project_make_nothing_of_the_same_name() -> None:
    for name, body in RESOURCES.items():
        attribute = NAMES.get(name.split(".")[0])
        if attribute is None:
            continue
        text = module.text_of(body[attribute])
        if text in ("${each.value}", "${each.value.subscription}", "${each.key}"):
            of_pools = "local.pools" in str(body["for_each"])
            text = (module.MODULE / "pools.tf").read_text() if of_pools else str(body["for_each"])
        assert "var.name" in text or "var.topic_prefix" in text, f"{name}: {text}"


def test_tickets_reach_somebody() -> None:
    channels = (module.MODULE / "alerts.tf").read_text()
    assert "var.ticket_channels == null ? var.notification_channels : var.ticket_channels" in channels


def test_the_readme_names_every_variable_that_a_first_apply_may_need() -> None:
    readme = Path(module.MODULE / "README.md").read_text()
    for name in ("more_pools", "topic_prefix", "private_services_connection", "ticket_channels", "prune_schedule"):
        assert f"`{name}`" in readme

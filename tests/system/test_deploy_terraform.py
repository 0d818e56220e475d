"""deploy/terraform: formatted, complete, with arguments that the provider takes, and with rights for nothing more."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from daemon.pubsub.drift import DAY, MAX_ATTEMPTS, MAX_RETRY, MIN_RETRY
from daemon.settings import Settings
from tests.harness.needs import needs
from tests.system import terraform_files as module

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
ARGUMENTS: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "terraform_arguments.json").read_text())[
    "resources"
]
ENVIRONMENT = {**os.environ, "TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}

# Each right of each account. What is not here must not be granted.
RIGHTS = {
    "worker": {
        "roles/cloudsql.client",
        "roles/cloudsql.instanceUser",
        "roles/cloudtrace.agent",
        "roles/logging.logWriter",
        "roles/monitoring.metricWriter",
        "roles/pubsub.publisher",
        "roles/pubsub.subscriber",
        "roles/pubsub.viewer",
        "roles/secretmanager.secretAccessor",
    },
    "migration": {"roles/cloudsql.client", "roles/secretmanager.secretAccessor"},
    "pruning": {"roles/cloudsql.client", "roles/pubsub.viewer", "roles/secretmanager.secretAccessor"},
    "scheduler": {"roles/run.invoker"},
    "agent": {"roles/pubsub.publisher", "roles/pubsub.subscriber"},
    "autoscaler": {
        "roles/iam.serviceAccountUser",
        "roles/logging.logWriter",
        "roles/monitoring.viewer",
        "roles/parametermanager.parameterViewer",
        "roles/run.developer",
    },
}


PREFIX = "${var.topic_prefix}"  # empty unless a project has a second module


def resources(kind: str) -> dict[str, dict[str, Any]]:
    return {name.split(".")[1]: body for name, body in module.blocks("resource") if name.split(".")[0] == kind}


def granted() -> Iterator[tuple[str, str, str]]:
    """(resource, account, role) of every grant."""
    for name, body in module.blocks("resource"):
        if "_iam_" in name:
            member = re.search(r"google_service_account\.(\w+)|local\.(agent)", str(body["member"]))
            assert member, f"{name} grants something to {body['member']}"
            roles = re.findall(r"roles/[\w.]+", f"{body['role']} {body.get('for_each', '')}")
            assert roles, f"{name} has no role that can be read"
            for role in roles:
                yield name, member.group(1) or member.group(2), role


def test_the_module_is_formatted_as_terraform_formats_it() -> None:
    command: list[str | Path] = [needs("terraform"), "fmt", "-check", "-diff", module.MODULE]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_reference_has_a_definition_and_every_variable_is_used() -> None:
    used = module.references()
    defined = {f"var.{name}" for name, _ in module.blocks("variable")}
    defined |= {f"local.{name}" for name in module.locals_defined()}
    defined |= {name for name, _ in module.blocks("resource")} | {f"data.{name}" for name, _ in module.blocks("data")}
    assert used - defined == set()
    unused = {name for name in defined if name.startswith(("var.", "local."))} - used
    assert unused == set()


def test_every_argument_is_one_that_the_provider_takes() -> None:
    strange = []
    for name, body in module.blocks("resource"):
        kind = name.split(".")[0]
        if kind.startswith("random_"):
            continue
        for path, attribute in module.attributes(body):
            if attribute not in ARGUMENTS[kind].get(".".join(path), "").split():
                strange.append(f"{name}: {'.'.join((*path, attribute))}")
    assert strange == []


def test_every_variable_says_what_it_is_for_and_has_a_type() -> None:
    for name, body in module.blocks("variable"):
        assert body.get("description"), name
        assert body.get("type"), name


def test_no_account_has_a_right_that_is_not_on_its_list() -> None:
    found: dict[str, set[str]] = {}
    for _, account, role in granted():
        found.setdefault(account, set()).add(role)
    assert found == RIGHTS


def test_no_grant_replaces_those_of_others_or_reaches_the_public() -> None:
    kinds = {name.split(".")[0] for name, _ in module.blocks("resource") if "_iam_" in name}
    assert all(kind.endswith("_iam_member") for kind in kinds), kinds
    whole = "".join(path.read_text() for path in DEPLOY.rglob("*") if path.is_file())
    for forbidden in ("allUsers", "allAuthenticatedUsers", "roles/owner", "roles/editor", "roles/viewer"):
        assert forbidden not in whole


def test_only_rights_that_have_no_smaller_scope_are_granted_on_the_project() -> None:
    on_project = {role for name, _, role in granted() if name.startswith("google_project_iam_member.")}
    assert not {role for role in on_project if role.startswith(("roles/pubsub", "roles/secretmanager", "roles/run"))}


def test_the_subscription_has_the_terms_that_the_doctor_wants() -> None:
    jobs = resources("google_pubsub_subscription")["jobs"]
    assert jobs["ack_deadline_seconds"] == 60
    assert module.text_of(jobs["message_retention_duration"]) == f"{7 * DAY}s"
    assert module.text_of(jobs["expiration_policy"][0]["ttl"]) == ""
    assert module.text_of(jobs["retry_policy"][0]["minimum_backoff"]) == f"{MIN_RETRY}s"
    assert module.text_of(jobs["retry_policy"][0]["maximum_backoff"]) == f"{MAX_RETRY}s"
    assert jobs["dead_letter_policy"][0]["max_delivery_attempts"] == MAX_ATTEMPTS


def test_topics_and_subscriptions_are_called_what_the_settings_expect() -> None:
    fields = Settings.model_fields
    (every_topic,) = resources("google_pubsub_topic").values()
    topics = {module.text_of(name).removeprefix(PREFIX) for name in every_topic["for_each"].values()}
    assert topics == {fields[name].default for name in ("jobs_topic", "events_topic", "dead_letter_topic")}
    dead = resources("google_pubsub_subscription")["dead"]
    assert module.text_of(dead["name"]).removeprefix(PREFIX) == fields["dead_letter_subscription"].default


def test_the_instance_count_is_left_to_whoever_scales() -> None:
    pool = resources("google_cloud_run_v2_worker_pool")["worker"]
    assert "scaling" in str(pool["lifecycle"][0]["ignore_changes"])


def test_the_module_and_the_plain_file_describe_the_same_pool() -> None:
    pool = resources("google_cloud_run_v2_worker_pool")["worker"]
    plain = yaml.safe_load((DEPLOY / "worker-pool.yaml").read_text())["spec"]["template"]["spec"]["containers"]
    containers = {module.text_of(one["name"]): one for one in pool["template"][0]["containers"]}
    assert list(containers) == [one["name"] for one in plain]
    for one in plain:
        probe = containers[one["name"]]["startup_probe"][0]
        assert module.text_of(probe["http_get"][0]["path"]) == one["startupProbe"]["httpGet"]["path"]
        assert probe["http_get"][0]["port"] == one["startupProbe"]["httpGet"]["port"]
        assert probe["failure_threshold"] * probe["period_seconds"] <= 240  # Cloud Run's limit
    flags = set(re.findall(r"--[\w-]+(?:=[\w.]+)?", str(containers["database"]["args"])))
    assert set(plain[1]["args"][:-1]) == flags - {"--private-ip"}


def test_the_owner_s_url_of_the_guide_leads_through_the_proxy() -> None:
    guide = (REPOSITORY / "docs" / "deploy.md").read_text()
    (line,) = re.findall(r"^OWNER_URL=.*$", guide, re.M)
    made = "postgresql://headcount:s3cret@/headcount?host=/cloudsql/p:europe-west1:headcount"  # as database.tf makes it
    database = (DEPLOY / "terraform" / "database.tf").read_text()
    assert '"postgresql://%s:%s@%s/%s?%s"' in database
    assert '"host=/cloudsql/${local.socket}"' in database
    script = f"{line}; echo -n $OWNER_URL"
    told = subprocess.run(
        ["bash", "-ec", script], env={**os.environ, "SECRET": made}, capture_output=True, text=True, check=True
    )
    assert told.stdout == "postgresql://headcount:s3cret@127.0.0.1:5433/headcount"

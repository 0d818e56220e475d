"""What `terraform` makes of the alert rules and of the autoscaler's file: it needs no provider for that."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness.needs import needs
from tests.system import terraform_files as module
from tests.system.test_deploy_terraform import DEPLOY, ENVIRONMENT

OUTPUTS = "\n".join(f'output "{name}" {{\n  value = local.{name}\n}}' for name in ("alerts", "crema", "pools"))
VARIABLES = {
    "project": "p",
    "region": "r",
    "image": "i",
    "name": "batch",
    "topic_prefix": "b-",
    "slots": 50,
    "jobs_filter": "cpu only",
    "more_pools": {"gpu": {"jobs_filter": "gpu only", "slots": 1, "max_instances": 3}},
    "database_max_connections": 400,
    "oldest_message_seconds": 3600,
}


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The outputs, for a module with two pools."""
    terraform = needs("terraform")
    root = tmp_path_factory.mktemp("values")
    folder = root / "terraform"
    folder.mkdir()
    for name in ("alerts", "autoscaling"):
        shutil.copytree(DEPLOY / name, root / name)
    for name in ("alert_rules.tf", "autoscaler_config.tf", "pools.tf", "variables.tf"):
        shutil.copy(module.MODULE / name, folder)
    (folder / "out.tf").write_text(OUTPUTS)
    (folder / "terraform.tfvars.json").write_text(json.dumps(VARIABLES))
    for command in (["init", "-input=false"], ["apply", "-input=false", "-auto-approve"]):
        done = subprocess.run([terraform, *command], cwd=folder, env=ENVIRONMENT, check=False, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
    said = subprocess.run([terraform, "output", "-json"], cwd=folder, env=ENVIRONMENT, check=True, capture_output=True)
    return {name: one["value"] for name, one in json.loads(said.stdout).items()}


@pytest.fixture(scope="module")
def alerts(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    made: dict[str, dict[str, Any]] = values["alerts"]
    return made


def rules() -> dict[str, dict[str, Any]]:
    files = [DEPLOY / "alerts" / f"{name}.rules.yml" for name in ("headcount", "platform")]
    groups = [group for path in files for group in yaml.safe_load(path.read_text())["groups"]]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def test_a_further_pool_is_as_the_first_one_where_it_says_nothing_else(values: dict[str, Any]) -> None:
    first, further = values["pools"]["batch"], values["pools"]["batch-gpu"]
    own = {"jobs_filter": "gpu only", "slots": 1, "max_instances": 3, "subscription": "b-jobs-worker-gpu"}
    assert further == first | own


def test_every_alert_becomes_a_policy_with_nothing_left_to_record(alerts: dict[str, dict[str, Any]]) -> None:
    assert set(alerts) == set(rules())
    for name, alert in alerts.items():
        assert not re.search(r"\bheadcount:", alert["query"]), name
        assert alert["severity"] in ("page", "ticket")
        number, unit = re.fullmatch(r"(\d+)([smh])", rules()[name].get("for", "0s")).groups()  # type: ignore[union-attr]
        assert alert["duration"] == int(number) * {"s": 1, "m": 60, "h": 3600}[unit]


def test_every_policy_looks_at_the_pools_of_its_module_only(alerts: dict[str, dict[str, Any]]) -> None:
    looked = 0
    for name, alert in alerts.items():
        for series, matchers in re.findall(r"\b(headcount_[a-z_]+)(\{[^}]*\})?", alert["query"]):
            looked += 1
            wanted = r'pool="batch(-gpu)?"' if name == "HeadcountNoWorker" else r'pool=~"batch\|batch-gpu"'
            assert len(re.findall(wanted, matchers)) == 1, f"{name}: {series}{matchers}"
    assert looked > 40


def test_every_pool_of_the_module_is_missed(alerts: dict[str, dict[str, Any]]) -> None:
    wanted = 'absent(headcount_worker_info{pool="batch"}) or absent(headcount_worker_info{pool="batch-gpu"})'
    assert alerts["HeadcountNoWorker"]["query"] == wanted


def test_policies_on_the_platform_name_the_module_s_own_database_subscriptions_and_limits(
    alerts: dict[str, dict[str, Any]],
) -> None:
    queries = {name: alert["query"] for name, alert in alerts.items() if "googleapis_com:" in alert["query"]}
    assert len(queries) >= 5
    assert "PROJECT" not in str(queries)
    assert all('database_id="p:batch"' in query for query in queries.values() if "cloudsql" in query)
    oldest = queries["HeadcountOldestMessage"]
    assert 'subscription_id=~"b-jobs-worker|b-jobs-worker-gpu|b-jobs-dead-worker"' in oldest
    assert oldest.endswith("> 3600")
    assert queries["HeadcountDatabaseConnections"].endswith("> 320")


def test_every_policy_s_query_is_promql(alerts: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    made = [{"alert": name, "expr": alert["query"]} for name, alert in alerts.items()]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "policies", "rules": made}]}))
    command: list[str | Path] = [needs("promtool"), "check", "rules", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_autoscaler_scales_every_pool_by_its_own_work(values: dict[str, Any]) -> None:
    file = yaml.safe_load((DEPLOY / "autoscaling" / "crema.yaml").read_text())
    made = yaml.safe_load(values["crema"])
    assert {key: made[key] for key in ("apiVersion", "kind")} == {key: file[key] for key in ("apiVersion", "kind")}
    assert "PROJECT" not in values["crema"]
    objects = {one["spec"]["scaleTargetRef"]["name"]: one["spec"] for one in made["spec"]["scaledObjects"]}
    expected = {"batch": ("b-jobs-worker", 8, "50"), "batch-gpu": ("b-jobs-worker-gpu", 3, "1")}
    assert set(objects) == {f"projects/p/locations/r/workerpools/{name}" for name in expected}
    for name, (subscription, most, slots) in expected.items():
        spec = objects[f"projects/p/locations/r/workerpools/{name}"]
        own, backlog = (trigger["metadata"] for trigger in spec["triggers"])
        assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, most)
        assert own["query"].count(f'pool="{name}"') == own["query"].count("{") == 2
        assert f'"subscription_id"="{subscription}"' in backlog["query"]
        assert own["threshold"] == backlog["threshold"] == slots
        assert spec.keys() == file["spec"]["scaledObjects"][0]["spec"].keys()

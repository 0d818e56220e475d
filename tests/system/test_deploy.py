"""deploy/: files that their readers accept, settings and metrics that exist, and rights that are enough and no more."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.settings import OTHER_VARIABLES, PREFIX, Settings, load
from daemon.telemetry.metrics import Metrics
from tests.harness.needs import needs

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
DOCS = [REPOSITORY / "docs" / f"{name}.md" for name in ("deploy", "upgrade", "capacity")]
YAML = sorted(path for path in DEPLOY.rglob("*.yaml"))
READS_WORKER_POOL = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/third_party"]
from googlecloudsdk.api_lib.util import apis, messages
from googlecloudsdk.core import yaml
pool = messages.DictToMessageWithErrorCheck(yaml.load_path(sys.argv[2]), apis.GetMessagesModule("run", "v1").WorkerPool)
print(*(container.name for container in pool.spec.template.spec.containers))
"""


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every container that has an environment, with the file that describes it."""

    def walk(value: Any) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict):
            if "image" in value and ("env" in value or "environment" in value):
                yield value
            value = list(value.values())
        if isinstance(value, list):
            for one in value:
                yield from walk(one)

    for path in YAML:
        for document in documents(path):
            for container in walk(document):
                yield path.name, container


def environment_of(container: dict[str, Any]) -> dict[str, str]:
    if "environment" in container:
        return {name: str(value) for name, value in container["environment"].items()}
    return {one["name"]: one["value"] for one in container["env"]}


def test_every_setting_that_is_named_anywhere_exists() -> None:
    files = [path for path in DEPLOY.rglob("*") if path.is_file() and path.suffix != ".json"] + DOCS
    for path in files:
        for name in re.findall(rf"\b{PREFIX}[A-Z_]+\b", path.read_text()):
            known = name.removeprefix(PREFIX).lower() in Settings.model_fields or name in OTHER_VARIABLES
            assert known, f"{path.relative_to(REPOSITORY)} names {name}"


def test_every_environment_is_one_that_a_worker_starts_with() -> None:
    read = 0
    for _, container in containers():
        environment = environment_of(container)
        if "HEADCOUNT_PROJECT" in environment:
            read += 1
            assert load(environment).project
    assert read >= 3


def test_every_metric_that_is_named_anywhere_exists() -> None:
    series = set(Metrics(["x"]).registry.series)
    series |= {name.removesuffix("_bucket") for name in series}
    named = 0
    for path in [
        DEPLOY / "autoscaling" / "crema.yaml",
        DEPLOY / "gke" / "headcount.yaml",
        DEPLOY / "collector.yaml",
        *DOCS,
    ]:
        for name in re.findall(r"(?<![\w/.-])headcount_[a-z_]+", path.read_text()):
            named += 1
            assert name in series or name == "headcount_schema", f"{path.name} names {name}"
    assert named >= 4


def test_the_worker_pool_is_what_gcloud_reads() -> None:
    lib = needs("gcloud").resolve().parent.parent / "lib"
    bundled = lib.parent / "platform" / "bundledpythonunix" / "bin" / "python3"
    python = bundled if bundled.exists() else sys.executable
    command = [python, "-c", READS_WORKER_POOL, lib, DEPLOY / "worker-pool.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["worker", "database", "collector"]


def test_containers_start_in_an_order_that_every_one_of_them_can_prove() -> None:
    (pool,) = documents(DEPLOY / "worker-pool.yaml")
    template = pool["spec"]["template"]
    order = json.loads(template["metadata"]["annotations"]["run.googleapis.com/container-dependencies"])
    by_name = {one["name"]: one for one in template["spec"]["containers"]}
    for waiting, awaited in order.items():
        assert waiting in by_name
        assert all("startupProbe" in by_name[name] for name in awaited)
    volumes = {volume["name"] for volume in template["spec"]["volumes"]}
    assert {mount["name"] for one in by_name.values() for mount in one.get("volumeMounts", [])} == volumes


def test_probes_ask_the_port_that_the_worker_serves() -> None:
    (pool,) = documents(DEPLOY / "worker-pool.yaml")
    worker = pool["spec"]["template"]["spec"]["containers"][0]
    port = int(environment_of(worker)["HEADCOUNT_HTTP_PORT"])
    for probe, path in (("startupProbe", "/startupz"), ("livenessProbe", "/livez")):
        assert worker[probe]["httpGet"] == {"path": path, "port": port}
    (config,) = documents(DEPLOY / "collector.yaml")
    scrape = config["receivers"]["prometheus"]["config"]["scrape_configs"][0]
    assert scrape["static_configs"][0]["targets"] == [f"localhost:{port}"]
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    assert f"EXPOSE {port}" in dockerfile


def test_the_proxy_of_the_database_outlives_the_drain() -> None:
    for path in (DEPLOY / "worker-pool.yaml", DEPLOY / "terraform" / "worker_pool.tf"):
        (seconds,) = re.findall(r"--min-sigterm-delay=(\d+)s", path.read_text())
        assert Settings.model_fields["drain_seconds"].default + 2 < int(seconds) < 10


def test_the_collector_s_pipelines_name_parts_that_are_there() -> None:
    (config,) = documents(DEPLOY / "collector.yaml")
    service = config["service"]
    assert set(service["extensions"]) <= set(config["extensions"])
    for pipeline in service["pipelines"].values():
        for kind, names in pipeline.items():
            assert set(names) <= set(config[kind])
    assert {"job", "instance"} & {
        label for labels in Metrics(["x"]).registry.series.values() for label in labels
    } == set()


CREMA: dict[str, set[str]] = {
    "": {"apiVersion", "kind", "spec"},
    "spec": {"pollingInterval", "triggerAuthentications", "scaledObjects"},
    "spec.scaledObjects.spec": {"scaleTargetRef", "minReplicaCount", "maxReplicaCount", "triggers", "advanced"},
    "spec.scaledObjects.spec.triggers": {"type", "metadata", "authenticationRef"},
    "spec.scaledObjects.spec.advanced.horizontalPodAutoscalerConfig.behavior": {"scaleDown", "scaleUp"},
}


def test_the_autoscaler_s_file_has_no_key_that_its_strict_reader_refuses() -> None:
    (config,) = documents(DEPLOY / "autoscaling" / "crema.yaml")
    seen: dict[str, set[str]] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, list):
            for one in value:
                walk(one, path)
        elif isinstance(value, dict):
            seen.setdefault(path, set()).update(value)
            for name, inner in value.items():
                walk(inner, f"{path}.{name}".lstrip("."))

    walk(config, "")
    for path, keys in CREMA.items():
        assert seen[path] <= keys, path
    spec = config["spec"]
    known = {one["metadata"]["name"] for one in spec["triggerAuthentications"]}
    for trigger in spec["scaledObjects"][0]["spec"]["triggers"]:
        assert trigger["authenticationRef"]["name"] in known
        assert int(trigger["metadata"]["threshold"]) == Settings.model_fields["slots"].default


def test_the_cluster_s_objects_refer_to_each_other() -> None:
    objects = documents(DEPLOY / "gke" / "headcount.yaml")
    by_kind = {one["kind"]: one for one in objects}
    for one in objects:
        assert one["apiVersion"]
        assert one["kind"] == "Namespace" or one["metadata"]["namespace"] == "headcount"
    pod = by_kind["Deployment"]["spec"]["template"]
    for selecting in (by_kind["Deployment"], by_kind["PodMonitoring"]):
        assert selecting["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert pod["spec"]["serviceAccountName"] == by_kind["ServiceAccount"]["metadata"]["name"]
    scaled = by_kind["ScaledObject"]["spec"]
    assert scaled["scaleTargetRef"]["name"] == by_kind["Deployment"]["metadata"]["name"]
    for trigger in scaled["triggers"]:
        assert trigger["authenticationRef"]["name"] == by_kind["TriggerAuthentication"]["metadata"]["name"]
    (worker,) = pod["spec"]["containers"]
    ports = {port["name"] for port in worker["ports"]}
    assert {worker[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "readiness", "liveness")} == ports
    drain = float(environment_of(worker)["HEADCOUNT_DRAIN_SECONDS"])
    assert pod["spec"]["terminationGracePeriodSeconds"] > drain + 3


def test_compose_s_services_refer_to_each_other() -> None:
    (composed,) = documents(DEPLOY / "compose.yaml")
    services = composed["services"]
    allowed = {
        "image",
        "build",
        "environment",
        "healthcheck",
        "volumes",
        "entrypoint",
        "command",
        "ports",
        "depends_on",
    }
    for name, service in services.items():
        assert set(service) <= allowed | {"network_mode", "stop_grace_period"}, name
        for other, condition in service.get("depends_on", {}).items():
            healthy = condition["condition"] == "service_healthy"
            assert not healthy or "healthcheck" in services[other]
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in composed["volumes"]
    assert services["worker"]["network_mode"] == "service:pubsub"  # the local Pub/Sub serves the loopback address only


def test_docker_composes_it() -> None:
    docker = needs("docker")
    if subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode != 0:
        pytest.skip(
            "needs docker compose (apt install docker-compose-v2); cannot be installed in continuous integration"
        )
    command: list[str | Path] = [docker, "compose", "--file", DEPLOY / "compose.yaml", "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""A producer of another kind: Google's Node.js client publishes by the message contract and receives the event."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from google.cloud.pubsub_v1 import SubscriberClient

from tests.harness.needs import needs
from tests.harness.worker import WorkerProcess, worker_environment
from tests.system.commands import typed

PACKAGE = "@google-cloud/pubsub@5.3.1"
PROGRAM = Path(__file__).parent / "node" / "producer.js"
HANDLER = '''
"""One handler."""
from daemon import job


@job("square")
async def square(params: dict) -> int:
    return params["number"] ** 2
'''


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the Node client installed and the producer beside it."""
    npm = needs("npm")
    folder = tmp_path_factory.mktemp("node")
    shutil.copy(PROGRAM, folder)
    (folder / "package.json").write_text('{"name": "producer", "private": true}')
    done = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--silent", PACKAGE],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert done.returncode == 0, f"npm could not install {PACKAGE}:\n{done.stdout}{done.stderr}"
    return folder


@pytest.mark.long
async def test_a_node_program_publishes_jobs_and_receives_their_event(
    node_folder: Path, database_url: str, project: str, pubsub: str, tmp_path: Path
) -> None:
    node = needs("node")
    package = tmp_path / "handlers"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "square.py").write_text(HANDLER)
    environment = worker_environment(database_url, project, pubsub, handlers_path=tmp_path)
    typed("provision", environment=environment)
    with SubscriberClient() as service:
        service.create_subscription(
            name=f"projects/{project}/subscriptions/node-events", topic=f"projects/{project}/topics/job-events"
        )
    async with WorkerProcess(environment, tmp_path, handlers_in=tmp_path):
        done = await asyncio.to_thread(
            subprocess.run,
            [node, "producer.js", project, "node-events", "20"],
            cwd=node_folder,
            env={**os.environ, "PUBSUB_EMULATOR_HOST": pubsub},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    event = json.loads(done.stdout)
    assert event["attributes"]["event_type"] == "JobCompleted"
    assert event["attributes"]["customer"] == "from node"
    assert event["attributes"]["outcome"] == "Completed"
    assert (event["body"]["total"], event["body"]["completed"], event["body"]["errored"]) == (20, 20, 0)


def test_the_program_in_the_documentation_is_the_one_that_was_run() -> None:
    page = (Path(__file__).parents[2] / "docs" / "messages.md").read_text()
    assert f"```js\n{PROGRAM.read_text()}```" in page

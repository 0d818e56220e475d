"""The release before this one runs on the newest schema: what an upgrade relies on between its migration and its end.

Until there is a release, this commit's own sources play its part, on a schema that was expanded once more.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.client import Client
from daemon.settings import load
from tests.harness.releases import add_migration, laid_out, last_release
from tests.harness.waiting import until
from tests.harness.worker import REPOSITORY, WorkerProcess, worker_environment
from tests.system.commands import asked, typed

FILES = 20
EXPANSION = (
    "ALTER TABLE job ADD COLUMN priority integer",
    "ALTER TABLE orchestration ADD COLUMN priority integer DEFAULT 0",
    "CREATE INDEX job_by_priority ON job (priority) WHERE status = 'InProgress'",
    "CREATE TABLE newcomer (id bigint PRIMARY KEY)",
)
Deployment = Callable[[Path], dict[str, str]]


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of the last release, or of this commit while there is none."""
    return laid_out(last_release() or "HEAD", tmp_path_factory.mktemp("previous"))


@pytest.fixture
def coming(tmp_path: Path) -> Path:
    """The sources of this commit, to be given one more migration."""
    folder = tmp_path / "coming"
    folder.mkdir()
    return laid_out("HEAD", folder)


@pytest.fixture
def deployed(empty_database_url: str, project: str, pubsub: str) -> Deployment:
    """The environment of a command that runs the code of a folder, on one database and project."""
    return lambda folder: {
        **worker_environment(empty_database_url, project, pubsub, revision=folder.name),
        "PYTHONPATH": str(folder),
    }


def test_it_is_said_which_release_that_is(capsys: pytest.CaptureFixture[str]) -> None:
    release = last_release()
    with capsys.disabled():
        said = f"is {release}" if release else "has no tag in this clone; this commit plays its part"
        print(f"\nThe release before this one {said}.")


def test_the_newest_tag_before_this_commit_is_the_last_release(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        own = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(tmp_path), *own, *words], check=True, capture_output=True)

    git("init", "--quiet")
    git("commit", "--allow-empty", "--message=first")
    assert last_release(tmp_path) is None
    git("tag", "v0.9.0")
    assert last_release(tmp_path) is None, "a release is not its own predecessor"
    git("commit", "--allow-empty", "--message=second")
    git("tag", "v0.10.0")
    git("tag", "other")
    git("commit", "--allow-empty", "--message=third")
    assert last_release(tmp_path) == "v0.10.0"
    subprocess.run(
        ["git", "clone", "--quiet", "--depth=1", "--no-tags", tmp_path.as_uri(), str(tmp_path / "shallow")], check=True
    )
    assert last_release(tmp_path / "shallow") is None
    subprocess.run(["git", "-C", str(tmp_path / "shallow"), "fetch", "--quiet", "--tags"], check=True)
    assert last_release(tmp_path / "shallow") == "v0.10.0"


async def test_a_worker_of_the_previous_release_starts_and_works_on_an_expanded_schema(
    previous: Path, coming: Path, deployed: Deployment, tmp_path: Path
) -> None:
    old, new = deployed(previous), deployed(coming)
    expansion = add_migration(coming, "expand", *EXPANSION)
    assert asked("migrate", "--json", environment=new, folder=coming)["applied"][-1] == expansion
    typed("provision", environment=old, folder=previous)
    params = [{"path": str(REPOSITORY / "pyproject.toml")}] * FILES
    async with Client(load(new)) as client, WorkerProcess(old, tmp_path, handlers_in=previous) as worker:
        assert code_of(worker, old, previous) == previous / "daemon" / "__init__.py"
        started = await client.kick_off("checksum_file", params)
        state = await started.wait(30)
        assert (state.completed, state.errored) == (FILES, 0)

        async def announced() -> bool:
            return (await started.progress()).event_published_at is not None

        await until(announced, within=10, what="JobCompleted is published")
        async with WorkerProcess(new, tmp_path, handlers_in=coming):
            fleet = asked("workers", "--json", environment=old, folder=previous)
            assert {one["revision"] for one in fleet} == {previous.name, coming.name}
            together = await (await client.kick_off("checksum_file", params * 5)).wait(30)
            assert (together.completed, together.errored) == (5 * FILES, 0)
            worker.terminate()
            await worker.until_exit()
            assert (await (await client.kick_off("checksum_file", params)).wait(30)).completed == FILES
    assert typed("verify", environment=new, folder=coming).stdout.strip() == "every invariant holds"


def test_after_a_contraction_a_worker_of_the_previous_release_refuses_to_start(
    coming: Path, deployed: Deployment, tmp_path: Path
) -> None:
    folder = tmp_path / "outdated"
    folder.mkdir()
    outdated, new = laid_out("HEAD", folder), deployed(coming)
    expansion = add_migration(coming, "expand", *EXPANSION)
    contraction = add_migration(
        coming,
        "contract",
        "ALTER TABLE job DROP COLUMN cause",
        f"COMMENT ON TABLE headcount_schema IS 'suits releases from {expansion} on'",
    )
    asked("migrate", "--json", environment=new, folder=coming)
    typed("provision", environment=new, folder=coming)
    said = typed("run", environment=deployed(outdated), folder=outdated, code=2).stderr
    assert f"at migration {contraction}, which this release does not know" in said


def code_of(worker: WorkerProcess, environment: dict[str, str], folder: Path) -> Path:
    """Where a process that is started like this worker has its code from."""
    assert worker.exit_code is None
    words = [sys.executable, "-c", "import daemon; print(daemon.__file__)"]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())

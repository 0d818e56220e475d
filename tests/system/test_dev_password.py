"""`headcount dev` on a machine that others use too: its database asks for a password, its worker answers here only."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from daemon.cli.new import create
from tests.harness.worker import REPOSITORY
from tests.system.commands import Session, on_path

REGISTERED = "the worker is registered"


@pytest.fixture
def project_folder() -> Iterator[Path]:
    """A repository made by `headcount new`, where an embedded server's account can go."""
    home = Path(tempfile.mkdtemp(prefix="headcount-home-"))
    home.chmod(0o711)
    create(home / "my-jobs")
    yield home / "my-jobs"
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def environment() -> dict[str, str]:
    """Somebody's environment, with nothing of Headcount."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}


def sourced(folder: Path) -> dict[str, str]:
    """The variables of `.headcount/env`, as a shell understands them."""
    script = "set -a; source .headcount/env; env -0"
    told = subprocess.run(["bash", "-c", script], cwd=folder, env={}, capture_output=True, text=True, check=True).stdout
    return dict(line.split("=", 1) for line in told.split("\0") if line.startswith("HEADCOUNT_"))


@pytest.mark.long
def test_dev_lets_nobody_into_its_database_without_the_password_that_only_its_owner_can_read(
    project_folder: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    (project_folder / ".headcount").mkdir()
    (project_folder / ".headcount" / "env").write_text(
        "export HEADCOUNT_DATABASE_URL=postgresql://postgres@127.0.0.1/x"
    )
    session = Session(["dev"], environment, project_folder, tmp_path / "said.log")
    try:
        session.until_said(REGISTERED)
        own = sourced(project_folder)
        url = own["HEADCOUNT_DATABASE_URL"]
        assert (project_folder / ".headcount" / "env").stat().st_mode & 0o777 == 0o600
        password = urlsplit(url).password
        assert password is not None
        for refused in (url.replace(f":{password}", ""), url.replace(password, "guessed"), url.replace(password, "")):
            with pytest.raises(psycopg.OperationalError, match=r"password|no pg_hba\.conf entry"):
                psycopg.connect(refused)
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        printed = re.search(r"Postgres +(\S+)", session.said)
        assert printed is not None
        psycopg.connect(printed[1]).close()

        shell = "source .headcount/env && headcount kickoff count_words --param text=hello --json"
        done = subprocess.run(["bash", "-c", shell], cwd=project_folder, env=on_path(environment), capture_output=True)
        assert done.returncode == 0, done.stderr
        address = socket.gethostbyname(socket.gethostname())
        worker = re.search(r"http://127\.0\.0\.1:(\d+)/metrics", session.said)
        assert worker is not None
        if not address.startswith("127."):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address, int(worker[1])), timeout=2)
        session.interrupt(code=0)
    finally:
        session.end()

    again = Session(["dev"], environment, project_folder, tmp_path / "again.log")
    try:
        again.until_said(REGISTERED)
        same = urlsplit(sourced(project_folder)["HEADCOUNT_DATABASE_URL"])
        assert (same.username, same.password) == (urlsplit(url).username, urlsplit(url).password)
        again.interrupt(code=0)
    finally:
        again.end()

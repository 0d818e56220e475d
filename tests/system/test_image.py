"""The image: its Dockerfile's steps carried out in a root file system, and the worker in it as process 1."""

import re
import signal
import subprocess
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest

from daemon.local.postgres import EmbeddedPostgres
from daemon.postgres.migrations import upgrade
from daemon.settings import Settings
from tests.harness.waiting import eventually
from tests.harness.worker import free_port
from tests.system.image_build import MOUNTS, REPOSITORY, Image, Step, context, new_root, steps

DOCKERFILE = REPOSITORY / "Dockerfile"
SECRETS = re.compile(r"(PASSWORD|SECRET|TOKEN|API_KEY|CREDENTIALS)", re.IGNORECASE)


def last(word: str) -> Step:
    return [step for step in steps(DOCKERFILE) if step.word == word][-1]


def test_the_last_user_is_not_root_and_is_a_number() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last("USER").text)  # a name can't be proved to be no root
    words = [step.word for step in steps(DOCKERFILE)]
    assert "RUN" not in words[words.index("USER") :]


@pytest.mark.parametrize("word", ["ENTRYPOINT", "CMD"])
def test_the_worker_is_started_without_a_shell(word: str) -> None:
    text = last(word).text
    assert text.startswith("[")
    assert not re.search(r'"(/bin/)?(ba|da)?sh"', text)


def test_the_base_is_pinned_by_its_digest_and_the_same_in_every_stage() -> None:
    sources = {step.text.split()[0] for step in steps(DOCKERFILE) if step.word == "FROM"}
    assert len(sources) == 1, sources
    (argument,) = [step.text for step in steps(DOCKERFILE) if step.word == "ARG" and step.stage == 0]
    assert re.fullmatch(r"PYTHON=3\.\d+(\.\d+)?-slim(-\w+)?@sha256:[0-9a-f]{64}", argument)
    assert sources == {"python:${PYTHON}"}


def test_no_secret_is_in_a_layer() -> None:
    for step in steps(DOCKERFILE):
        if step.word in ("ARG", "ENV"):
            assert not SECRETS.search(step.text), step
        assert "http://" not in step.text, step
        assert step.word != "ADD", step
        assert "curl" not in step.text.split(), step


def test_everything_installed_has_a_hash_or_is_our_own() -> None:
    for step in steps(DOCKERFILE):
        for command in re.findall(r"pip (?:--python \S+ )?install[^&]*", step.text):
            assert "--require-hashes" in command or "--no-index" in command, command


def test_whatever_asks_an_index_can_be_given_a_certificate_and_an_index_without_a_trace() -> None:
    asking = [step.text for step in steps(DOCKERFILE) if step.word == "RUN" and "--require-hashes" in step.text]
    assert len(asking) == 2
    for text in asking:
        mounts = re.match(MOUNTS, text)
        assert mounts is not None
        assert mounts[0].split() == [
            "--mount=type=secret,id=ca",
            "--mount=type=secret,id=pip.conf,target=/etc/pip.conf",
        ]


def test_the_build_sees_only_what_it_copies(tmp_path: Path) -> None:
    seen = {path.relative_to(tmp_path).parts[0] for path in context(tmp_path).rglob("*")}
    copied = {
        name.rstrip("/")
        for step in steps(DOCKERFILE)
        if step.word == "COPY" and not step.text.startswith("--from")
        for name in step.text.split()[:-1]
    }
    assert seen == copied
    assert not list(tmp_path.rglob("*.env"))
    assert not list(tmp_path.rglob("*.pem"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Both stages, one after the other in the same root; the second gets nothing of the first but /opt/headcount."""
    folder = Path(tempfile.mkdtemp(prefix="headcount-image-"))
    source = context(tmp_path_factory.mktemp("context"))
    for image in new_root(folder):
        for step in steps(DOCKERFILE):
            if step.word == "FROM":
                image.environment, image.workdir = {}, "/"
            if step.word == "FROM" and step.stage == 2:
                image.sh("rm -rf /source")
            image.carry_out(step, source)
        yield image
    folder.rmdir()


@pytest.mark.long
def test_the_steps_make_a_command_that_runs_as_nobody_in_particular(built: Image) -> None:
    said = built.sh("id -u; headcount --help; python -c 'import daemon; print(daemon.__file__)'", user=built.user)
    assert said.splitlines()[0] == built.user.split(":")[0]
    assert "Run jobs from Pub/Sub" in said
    assert said.splitlines()[-1].startswith("/opt/headcount/lib/")


@pytest.mark.long
def test_the_image_carries_the_handlers_and_finds_them(built: Image) -> None:
    found = built.sh("headcount handlers --json", user=built.user)
    assert '"checksum_file"' in found
    assert '"thumbnail"' not in found, "it needs Pillow, and a process for each CPU"


@pytest.mark.long
def test_no_installer_is_in_the_environment_and_what_is_installed_on_top_goes_there(
    built: Image, tmp_path: Path
) -> None:
    assert built.sh("ls /opt/headcount/lib/python3*/site-packages | grep -E '^(pip|setuptools)' || true") == ""
    wheel = tmp_path / "ontop-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("ontop.py", "HERE = True\n")
        archive.writestr("ontop-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: ontop\nVersion: 1.0\n")
        archive.writestr("ontop-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("ontop-1.0.dist-info/RECORD", "")
    built.carry_out(Step(3, "COPY", f"{wheel.name} /tmp/"), tmp_path)
    built.sh(f"pip install --no-index --no-deps --root-user-action=ignore /tmp/{wheel.name}")
    assert built.sh("python -c 'import ontop; print(ontop.__file__)'", user=built.user).startswith("/opt/headcount/")


@pytest.mark.long
def test_its_user_can_write_nowhere_in_it(built: Image) -> None:
    assert built.sh("find /app /opt/headcount -writable ! -type l", user=built.user) == ""


@pytest.fixture
def database(own_postgres: EmbeddedPostgres) -> str:
    """Over TCP: a socket's file can't be connected to through an overlay."""
    url = own_postgres.url(tcp_port=own_postgres.tcp_port)
    upgrade(url)
    return url


@pytest.mark.long
def test_the_worker_is_process_1_and_stops_in_order_on_sigterm(
    built: Image, database: str, pubsub_server: str, project: str, tmp_path: Path
) -> None:
    port = free_port()
    variables = {
        "HEADCOUNT_DATABASE_URL": database,
        "HEADCOUNT_PROJECT": project,
        "HEADCOUNT_HTTP_PORT": str(port),
        "PUBSUB_EMULATOR_HOST": pubsub_server,
    }
    subprocess.run(built.as_process_1("provision", **variables), check=True, capture_output=True)
    log = tmp_path / "worker.log"
    with log.open("wb") as out:
        child = subprocess.Popen(built.as_process_1(**variables), stdout=out, stderr=out)
    try:
        eventually(lambda: _is_ready(port) or child.poll() is not None, within=40, what="the worker is ready")
        assert child.poll() is None, log.read_text()
        (worker,) = psutil.Process(child.pid).children()
        status = Path(f"/proc/{worker.pid}/status").read_text()
        assert re.search(r"^NSpid:.*\t1$", status, re.MULTILINE), "it is not process 1"
        assert re.search(r"^Uid:\t10001\t10001\t", status, re.MULTILINE), "it runs as somebody else"
        began = time.monotonic()
        worker.send_signal(signal.SIGTERM)
        assert child.wait(15) == 0, log.read_text()
        assert time.monotonic() - began < Settings.model_fields["drain_seconds"].default + 3
    finally:
        for process in psutil.Process(child.pid).children() if child.poll() is None else []:
            process.kill()
        child.wait(10)
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM worker").fetchone() == (0,)


@pytest.mark.long
def test_a_shell_in_between_would_be_found_by_the_doctor(
    built: Image, database: str, pubsub_server: str, project: str
) -> None:
    variables = {
        "HEADCOUNT_DATABASE_URL": database,
        "HEADCOUNT_PROJECT": project,
        "PUBSUB_EMULATOR_HOST": pubsub_server,
    }
    wrapped = replace(built, entrypoint=[])
    command = wrapped.as_process_1("sh", "-c", "headcount doctor --only worker; exit $?", **variables)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Process 1 is the shell `sh`" in done.stdout


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False

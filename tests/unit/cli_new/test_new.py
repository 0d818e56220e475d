"""`headcount new`: what it writes, and what it refuses to write over."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from daemon.cli.new import create, project_name
from daemon.errors import RequestRefused


def test_the_files_it_names_are_the_files_it_wrote(tmp_path: Path) -> None:
    written = create(tmp_path / "thumbnails")
    assert sorted(written) == sorted(path for path in (tmp_path / "thumbnails").rglob("*") if path.is_file())
    assert {path.name for path in written} >= {"pyproject.toml", "README.md", "Dockerfile", ".gitignore"}


def test_no_placeholder_is_left_in_any_file(tmp_path: Path) -> None:
    for path in create(tmp_path / "thumbnails"):
        left = re.findall(r"\$name|\$\$", path.read_text())
        assert not left, f"{path.name} still holds {left}"
    steps = (tmp_path / "thumbnails" / "Dockerfile").read_text().splitlines()
    assert "FROM ${HEADCOUNT}" in steps
    assert steps[-2:] == ["ARG REVISION=unknown", "ENV HEADCOUNT_REVISION=${REVISION}"], "else it bears the base's"
    assert (tmp_path / "thumbnails" / "README.md").read_text().startswith("# thumbnails\n")


def test_each_handler_is_named_like_its_file_and_has_a_test(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    create(root)
    handlers = [path for path in (root / "handlers").glob("*.py") if path.name != "__init__.py"]
    assert handlers
    for path in handlers:
        functions = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.AsyncFunctionDef)]
        assert functions == [path.stem]
        assert f'@job("{path.stem}"' in path.read_text()
        assert (root / "tests" / f"test_{path.name}").is_file()


def test_the_project_gets_a_valid_name_from_any_folder(tmp_path: Path) -> None:
    create(tmp_path / "My Jobs (2)")
    project = tomllib.loads((tmp_path / "My Jobs (2)" / "pyproject.toml").read_text())["project"]
    assert project["name"] == "my-jobs-2"
    assert project_name(tmp_path / "été") == "t"
    assert project_name(tmp_path / "!!!") == "jobs"


def test_a_folder_with_anything_in_it_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RequestRefused, match=r"is not empty \(it has notes\.txt\)"):
        create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_fresh_clone_of_an_empty_repository_is_not_refused(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert create(tmp_path)


def test_a_file_of_that_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(RequestRefused, match="is a file"):
        create(tmp_path / "taken")

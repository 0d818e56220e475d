"""`headcount new NAME`: a repository for somebody's handlers, which runs and is tested as it is.

Called by the command line. It only writes files, in a folder that is new or empty; it starts
nothing, installs nothing and overwrites nothing.
"""

import re
from importlib.resources import files
from pathlib import Path
from string import Template

from daemon.errors import RequestRefused

FILES = {
    "pyproject.toml": "pyproject.toml.tmpl",
    "README.md": "README.md.tmpl",
    "handlers/__init__.py": "handlers_init.py.tmpl",
    "handlers/count_words.py": "count_words.py.tmpl",
    "tests/test_count_words.py": "test_count_words.py.tmpl",
    "Dockerfile": "Dockerfile.tmpl",
    ".dockerignore": "dockerignore.tmpl",
    ".gitignore": "gitignore.tmpl",
}


def create(folder: Path) -> list[Path]:
    """Write the repository; the files it wrote, in the order worth reading.

    Raises RequestRefused, having written nothing, if there is anything but `.git` in the folder.
    """
    found = _contents(folder)
    if found:
        raise RequestRefused(
            f"{folder} is not empty (it has {', '.join(found[:3])}{', ...' if len(found) > 3 else ''}), "
            "and nothing in it will be overwritten. Choose a new folder."
        )
    templates = files("daemon.cli").joinpath("new_repository")
    written = []
    for name, template in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = templates.joinpath(template).read_text(encoding="utf-8")
        path.write_text(Template(text).substitute(name=project_name(folder)), encoding="utf-8")
        written.append(path)
    return written


def project_name(folder: Path) -> str:
    """A name that pyproject.toml accepts, made of the folder's."""
    return re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-") or "jobs"


def _contents(folder: Path) -> list[str]:
    if folder.exists() and not folder.is_dir():
        raise RequestRefused(f"{folder} is a file. Choose a new folder.")
    return sorted(path.name for path in folder.iterdir() if path.name != ".git") if folder.exists() else []

"""A copy of the repository's sources, for tests that build or set up the project.

Used by the packaging and set-up tests, so that they leave nothing behind in the tree they test.
"""

import shutil
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
NOT_SOURCES = shutil.ignore_patterns(
    ".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", "*.pyc", ".*_cache", ".hypothesis", ".headcount"
)


def copy_of_the_sources(folder: Path) -> Path:
    """Everything but version control, environments, caches and build results, in `folder`/headcount."""
    return Path(shutil.copytree(REPOSITORY, folder / "headcount", ignore=NOT_SOURCES))

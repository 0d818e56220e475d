"""The release before this one, out of the repository's own history: found, and laid out to be run.

Used by the tests of upgrades. A clone without tags is no error: then this commit stands for its own predecessor.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.harness.worker import REPOSITORY

TAGS = "v[0-9]*"
NEW_MIGRATION = '''"""{words}

Kind: {kind}.
"""

from alembic import op

revision = "{revision}"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in {statements!r}:
        op.execute(statement)


def downgrade() -> None:
    """Not needed."""
'''


def last_release(folder: Path = REPOSITORY) -> str | None:
    """The tag of the newest release before HEAD; None when this clone knows none."""
    here = set(_git(folder, "tag", "--points-at", "HEAD").split())
    is_shallow = _git(folder, "rev-parse", "--is-shallow-repository").strip() == "true"  # what came before is unknown
    reachable = () if is_shallow else ("--merged", "HEAD")
    tags = _git(folder, "tag", *reachable, "--sort=-version:refname", "--list", TAGS).split()
    return next((tag for tag in tags if tag not in here), None)


def laid_out(reference: str, folder: Path, source: Path = REPOSITORY) -> Path:
    """The sources of a commit in `folder`, with the migrations where a wheel has them, so that no other's are found."""
    packed = subprocess.run(
        ["git", "-C", str(source), "archive", "--format=tar", reference], capture_output=True, check=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    (folder / "migrations").rename(folder / "daemon" / "migrations")
    return folder


def add_migration(folder: Path, kind: str, *statements: str) -> str:
    """One more migration after the newest of these sources; its revision."""
    versions = folder / "daemon" / "migrations" / "versions"
    before = max(path.name for path in versions.glob("[0-9]*.py")).partition("_")[0]
    revision = f"{int(before) + 1:04}"
    text = NEW_MIGRATION.format(words="One more.", kind=kind, revision=revision, before=before, statements=statements)
    (versions / f"{revision}_one_more.py").write_text(text)
    return revision


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs a git clone of the project ({done.stderr.strip()})")
    return done.stdout

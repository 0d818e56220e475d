"""Every SQL statement as it reaches Postgres, kept in a file: a change to one is seen in review.

`UPDATE_GOLDEN=1 pytest tests/golden` writes the files anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy.dialects import postgresql

from tests.golden.statements_of_the_store import NAMED

FOLDER = Path(__file__).parent / "statements"
DIALECT = postgresql.psycopg.dialect()


def compiled(name: str) -> str:
    """A statement as the driver gets it, placeholders included."""
    return str(NAMED[name].compile(dialect=DIALECT)).strip() + "\n"


@pytest.mark.parametrize("name", NAMED)
def test_a_statement_is_what_its_golden_file_says(name: str) -> None:
    file = FOLDER / f"{name}.sql"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        FOLDER.mkdir(exist_ok=True)
        file.write_text(compiled(name))
    assert file.exists(), f"{name} is new: UPDATE_GOLDEN=1 pytest tests/golden writes its file"
    assert compiled(name) == file.read_text()


def test_no_golden_file_is_left_over() -> None:
    files = {file.name.removesuffix(".sql") for file in FOLDER.glob("*")}
    if os.environ.get("UPDATE_GOLDEN") == "1":
        for name in files - NAMED.keys():
            (FOLDER / f"{name}.sql").unlink()
    else:
        assert files == NAMED.keys()


def test_there_are_statements_at_all() -> None:
    assert len(NAMED) > 40
    assert {"claim.JOBS", "settle.SETTLE", "due.LEASE", "workers.BURY"} <= NAMED.keys()

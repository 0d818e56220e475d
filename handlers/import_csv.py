"""`import_csv`: the rows of a CSV file into a table of Postgres, shared out over as many instances as you like.

Each instance takes the rows whose key falls to it, in one transaction. The id of a row follows from its key, so an
instance that is killed and runs again, or twice at once, leaves the same rows, and so does the next import of the file.
Of several rows with one key the last counts. The table has a primary key `id uuid` and the columns that the first line
of the file names; an empty field is NULL. `IMPORT_DATABASE_URL` says where it is.
"""

from __future__ import annotations

import csv
import io
import json
import os
from datetime import timedelta
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

import psycopg
from psycopg import sql
from pydantic import BaseModel, Field

from daemon import GiveUp, JobContext, job

LINE = "line of the file"
SPEAK_EVERY = 1000
FINAL = (FileNotFoundError, UnicodeDecodeError, csv.Error, psycopg.DataError, psycopg.IntegrityError)
CREATE = "CREATE TEMP TABLE incoming ON COMMIT DROP AS SELECT id, {columns}, 0 AS {line} FROM {table} WITH NO DATA"
COPY = "COPY incoming (id, {line}, {columns}) FROM STDIN"
UPSERT = """INSERT INTO {table} (id, {columns}) SELECT DISTINCT ON (id) id, {columns} FROM incoming
    ORDER BY id, {line} DESC ON CONFLICT (id) DO UPDATE SET ({columns}) = ROW({excluded})"""


class ImportCsv(BaseModel):
    """Which file, as the worker sees it, and where its rows go."""

    path: Path = Field(description="the file, in UTF-8")
    table: str = Field(description="the table, with or without its schema")
    key: list[str] = Field(min_length=1, description="the columns that tell a row from all others")


@job("import_csv", executor="process", give_up_on=(*FINAL, psycopg.ProgrammingError), timeout=timedelta(hours=1))
def import_csv(params: ImportCsv, ctx: JobContext) -> dict[str, int]:
    """COPY this instance's rows into a temporary table, then insert or update them, in the order of their ids."""
    if not (url := os.environ.get("IMPORT_DATABASE_URL")):
        raise GiveUp("IMPORT_DATABASE_URL is not set: the database that the rows belong in, postgresql://...")
    with params.path.open("rb") as file, psycopg.connect(url) as connection, connection.cursor() as cursor:
        lines = csv.reader(io.TextIOWrapper(file, "utf-8-sig", newline=""), strict=True)
        columns = next(lines, [])
        if missing := set(params.key) - set(columns):
            raise GiveUp(f"{params.path} has no column {', '.join(sorted(missing))}")
        names = {
            "table": sql.Identifier(*params.table.split(".")),
            "columns": sql.SQL(", ").join(map(sql.Identifier, columns)),
            "excluded": sql.SQL(", ").join(sql.Identifier("excluded", column) for column in columns),
            "line": sql.Identifier(LINE),
        }
        cursor.execute(sql.SQL(CREATE).format(**names))
        size, key = params.path.stat().st_size, [columns.index(name) for name in params.key]
        with cursor.copy(sql.SQL(COPY).format(**names)) as copy:
            for number, row in enumerate(lines):
                if number % SPEAK_EVERY == 0:
                    ctx.stop_point()
                    ctx.progress(file.tell(), size, f"{params.path.name}: row {number:,}")
                if not row:  # an empty line
                    continue
                if len(row) != len(columns):
                    raise GiveUp(f"{params.path}, line {lines.line_num}: {len(row)} fields instead of {len(columns)}")
                row_id = uuid5(NAMESPACE_OID, json.dumps([params.table, *(row[place] for place in key)]))
                if row_id.int % ctx.count == ctx.index:
                    copy.write_row((row_id, number, *(field or None for field in row)))
        cursor.execute(sql.SQL(UPSERT).format(**names))
        return {"rows": cursor.rowcount}

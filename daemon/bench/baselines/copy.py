"""A bare COPY of unfinished jobs into the job table, indexes and constraints included.

Run by `measure`. Prints rows per second, one commit for all.
"""

from __future__ import annotations

import json
import sys
import time
from uuid import uuid4

import psycopg

COPY = "COPY job (id, orchestration_id, index, job_name, params, publish_at) FROM STDIN"


def main(url: str, jobs: int) -> dict[str, float]:
    """Write so many rows."""
    orchestration = uuid4()
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO orchestration (id, job_name, total) VALUES (%s, 'noop', %s)", [orchestration, jobs]
        )
        began = time.monotonic()
        with connection.cursor() as cursor, cursor.copy(COPY) as copy:
            for number in range(jobs):
                copy.write_row((uuid4(), orchestration, number, "noop", json.dumps({"number": number}), "now"))
        connection.commit()
    return {"per_second": jobs / (time.monotonic() - began)}


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))

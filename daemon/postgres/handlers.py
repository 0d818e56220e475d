"""The table of handlers: written by every worker at its start, read by whoever shows params.

Rows and messages hold the values of secret fields; this table tells what to mask where people look.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.postgres.statements import handlers as sql
from daemon.registry import Handler
from daemon.signature import json_schema, secrets_of

EVERYTHING = ("",)


def record_handlers(engine: Engine, handlers: Iterable[Handler], revision: str) -> None:
    """Say what the handlers of this worker's revision take and return, and where their params hold secrets."""
    rows = json.dumps([_row(handler) for handler in handlers])
    with engine.begin() as connection:
        connection.execute(sql.RECORD, {"handlers": rows, "revision": revision})


async def secrets_in_params(engine: AsyncEngine, job_name: str) -> tuple[str, ...]:
    """Pointers to the secrets in the params of a job. Of a job that no worker has described, the whole is one."""
    async with engine.connect() as connection:
        row = (await connection.execute(sql.SECRETS, {"name": job_name})).one()
    return tuple(row.secrets) if row.revisions else EVERYTHING


def _row(handler: Handler) -> dict[str, object]:
    params = json_schema(handler.params, "validation")
    result = {} if handler.result is None else json_schema(handler.result, "serialization")
    secrets = secrets_of(handler.params)
    return {
        "name": handler.name,
        "params_schema": None if isinstance(params, str) else params,
        "result_schema": None if isinstance(result, str) else result,
        "secrets": EVERYTHING if secrets is None else secrets,  # where nobody can tell, all of it
        "limits": [asdict(limit) for limit in handler.limits],
    }

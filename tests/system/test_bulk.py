"""Cancelling and retrying many orchestrations at once: shown first, then exactly these."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import psycopg
import pytest

from daemon.client import Client
from daemon.settings import load
from tests.system.commands import typed


@pytest.fixture
async def client(provisioned: dict[str, str], pubsub: str) -> AsyncIterator[Client]:
    async with Client(load(provisioned)) as made:
        yield made


async def test_what_matches_is_shown_then_cancelled_and_retried(client: Client, provisioned: dict[str, str]) -> None:
    wanted = [(await client.kick_off("resize", [{}, {}], tags={"customer": "c 17"})).id for _ in range(7)]
    other = (await client.kick_off("crop", [{}], tags={"customer": "c 17"})).id
    where = "job:resize tag.customer:'c 17' state:running age<1h"

    declined = typed("cancel", "--where", where, environment=provisioned, given="n\n", code=1)
    assert "7 orchestrations would be cancelled" in declined.stdout + declined.stderr
    assert "... and 2 more" in declined.stdout + declined.stderr
    assert (await client.state(wanted[0])).cancelled_at is None

    done = typed("cancel", "--where", where, "--yes", "--json", environment=provisioned)
    assert json.loads(done.stdout) == {"orchestrations": 7, "cancelled": 14, "skipped": {}}
    assert (await client.state(other)).cancelled_at is None, "it did not match"

    with psycopg.connect(provisioned["HEADCOUNT_DATABASE_URL"], autocommit=True) as database:
        database.execute(
            "UPDATE orchestration SET event_published_at = now(), event_publish_at = NULL WHERE id = ANY(%s)",
            (wanted[1:],),
        )
    again = typed("retry", "--where", "job:resize kind:Cancelled", "--yes", "--json", environment=provisioned, code=1)
    said = json.loads(again.stdout)
    assert (said["orchestrations"], said["retried"]) == (6, 12)
    assert list(said["skipped"]) == [str(wanted[0])]
    assert "event" in said["skipped"][str(wanted[0])]
    assert (await client.state(wanted[1])).generation == 2


def test_one_id_or_one_filter_and_nothing_else(provisioned: dict[str, str]) -> None:
    for words in (("retry",), ("cancel", "0b8f5a52-5a0e-4b3f-8a54-3f1d0f4bb0ce", "--where", "job:a")):
        refused = typed(*words, environment=provisioned, code=2)
        assert "--where" in refused.stderr
    unknown = typed("retry", "--where", "jib:a", environment=provisioned, code=2)
    assert "tag.KEY:VALUE" in unknown.stderr

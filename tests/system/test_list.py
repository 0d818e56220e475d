"""`headcount list`: which orchestrations there are, for whoever has an alert and no id."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from daemon.client import Client
from daemon.settings import load
from tests.system.commands import typed


@pytest.fixture
async def client(provisioned: dict[str, str], pubsub: str) -> AsyncIterator[Client]:
    async with Client(load(provisioned)) as made:
        yield made


@pytest.fixture
async def ids(client: Client, provisioned: dict[str, str]) -> dict[str, str]:
    """One orchestration in each state, an hour apart, the newest first."""
    made = {}
    with psycopg.connect(provisioned["HEADCOUNT_DATABASE_URL"], autocommit=True) as database:
        for number, state in enumerate(("running", "Completed", "Partial", "Errored", "cancelled")):
            name = "resize" if number % 2 else "crop"
            tags = {"batch": "7", "state": state}
            started = await client.kick_off(name, [{"n": 1}, {"n": 2}], tags=tags)
            made[state] = str(started.id)
            if state == "cancelled":
                await client.cancel(started.id)
            elif state != "running":
                failed = {"Completed": 0, "Partial": 1, "Errored": 2}[state]
                _end(database, made[state], failed)
            database.execute(
                "UPDATE orchestration SET created_at = now() - %s WHERE id = %s",
                (timedelta(hours=number, minutes=1), made[state]),
            )
    return made


def _end(database: psycopg.Connection[Any], orchestration_id: str, failed: int) -> None:
    """What workers would have stored."""
    database.execute(
        "UPDATE job SET status = CASE WHEN index < %(failed)s THEN 'Errored' ELSE 'Completed' END, publish_at = NULL,"
        " attempt = 1, finished_at = now(), finish_number = index + 1,"
        ' error = CASE WHEN index < %(failed)s THEN \'{"kind": "WorkerLost", "message": "gone"}\'::jsonb END'
        " WHERE orchestration_id = %(id)s",
        {"failed": failed, "id": orchestration_id},
    )
    outcome = ("Completed", "Partial", "Errored")[failed]
    database.execute(
        "UPDATE orchestration SET completed = 2 - %s, errored = %s, finishes = 2, completed_at = now(), outcome = %s"
        " WHERE id = %s",
        (failed, failed, outcome, orchestration_id),
    )


def listed(environment: dict[str, str], *options: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in typed("list", "--json", *options, environment=environment).stdout.splitlines()]


def states(environment: dict[str, str], *options: str) -> list[str]:
    return [one["tags"]["state"] for one in listed(environment, *options)]


@pytest.mark.long
async def test_orchestrations_are_listed_newest_first_by_state_job_tag_kind_and_age(
    ids: dict[str, str], provisioned: dict[str, str]
) -> None:
    everything = ["running", "Completed", "Partial", "Errored", "cancelled"]
    assert states(provisioned) == everything
    assert [one["id"] for one in listed(provisioned)] == list(ids.values())
    assert states(provisioned, "--state", "running") == ["running"]
    assert states(provisioned, "--state", "complete") == everything[1:]
    for outcome in ("Completed", "Partial", "cancelled"):
        assert states(provisioned, "--state", outcome) == [outcome]
    assert states(provisioned, "--state", "Errored") == ["Errored", "cancelled"]
    assert states(provisioned, "--state", "failed") == ["Partial", "Errored", "cancelled"]
    assert states(provisioned, "--job", "resize") == ["Completed", "Errored"]
    assert states(provisioned, "--tag", "batch=7", "--tag", "state=Partial") == ["Partial"]
    assert states(provisioned, "--kind", "WorkerLost") == ["Partial", "Errored"]
    assert states(provisioned, "--kind", "Cancelled") == ["cancelled"]
    assert states(provisioned, "--older-than", "90m") == ["Partial", "Errored", "cancelled"]
    assert states(provisioned, "--newer-than", "90m") == ["running", "Completed"]
    assert states(provisioned, "--newer-than", "2h30m", "--older-than", "30m") == ["Completed", "Partial"]
    assert states(provisioned, "--job", "nothing") == []


async def test_pages_follow_each_other_without_a_gap_or_a_double(
    ids: dict[str, str], client: Client, provisioned: dict[str, str]
) -> None:
    seen = [one["id"] for one in listed(provisioned, "--limit", "2")]
    await client.kick_off("crop", [{"n": 3}])  # newer than the first page: no later page shifts by it
    while page := listed(provisioned, "--limit", "2", "--after", seen[-1]):
        seen += [one["id"] for one in page]
    assert seen == list(ids.values())
    assert (
        "no orchestration has the id"
        in typed("list", "--after", "00000000-0000-0000-0000-000000000001", environment=provisioned, code=3).stderr
    )


async def test_people_get_a_table_with_whole_ids_and_the_command_for_the_next_page(
    ids: dict[str, str], provisioned: dict[str, str]
) -> None:
    shown = typed("list", "--limit", "2", "--job", "crop", environment=provisioned)
    assert ids["running"] in shown.stdout
    assert "running" in shown.stdout
    assert "0/2" in shown.stdout
    assert f"headcount list --job crop --limit 2 --after {ids['Partial']}" in shown.stderr
    assert "headcount list" not in typed("list", "--job", "resize", environment=provisioned).stderr
    nothing = typed("list", "--job", "none", environment=provisioned)
    assert (nothing.stdout, nothing.stderr) == ("", "no orchestration matches\n")


async def test_tags_with_markup_or_control_characters_do_not_reach_the_terminal(
    client: Client, provisioned: dict[str, str]
) -> None:
    await client.kick_off("crop", [{"n": 1}], tags={"[/red]": "\x1b]0;owned\x07\n[bold]forged"})
    shown = typed("list", environment=provisioned).stdout
    assert "[/red]=" in shown
    assert "\x1b" not in shown
    assert "[bold]forged" in shown

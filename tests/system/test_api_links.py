"""Progress links: one orchestration, what they list and no more, until they expire or are revoked; and the audit."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from uuid import uuid4

import psycopg

from tests.harness.waiting import until
from tests.system.api_process import OPERATOR, READER, ApiProcess, EventSource, tokens
from tests.system.commands import asked, typed

KEYS = f"new:{'ab' * 32},old:{'cd' * 32}"
OTHER_KEYS = f"new:{'ef' * 32}"


def altered(token: str, at: int) -> str:
    """The same token with one letter changed."""
    return token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]


async def test_a_link_opens_one_orchestration_until_it_is_revoked_and_every_other_is_refused_alike(
    provisioned: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    settings = {"tokens": tokens(read=READER, operate=OPERATOR), "link_keys": KEYS}
    environment = {**provisioned, "HEADCOUNT_API_LINK_KEYS": KEYS}
    async with ApiProcess(provisioned, tmp_path, **settings) as api:
        one, other = (
            api.ask("/v1/orchestrations", {"job_name": "pay", "params": [{}]}, token=OPERATOR).json["id"] for _ in "12"
        )
        path = f"/v1/orchestrations/{one}"
        assert api.ask(f"{path}/links", {}, token=READER).status == 403
        made = api.ask(f"{path}/links", {"expires_seconds": 3600, "show": ["counts"]}, token=OPERATOR)
        assert made.status == 201, made.body
        token = made.json["token"]
        shown = api.ask(f"{path}/progress?link={token}")
        assert shown.json["state"]["total"] == 1
        assert shown.json["snapshot"]["facts"] is None
        assert not {"job_name", "instances"} & shown.json["state"].keys()
        assert shown.headers["Access-Control-Allow-Origin"] == "*"
        assert shown.headers["Referrer-Policy"] == "no-referrer"
        assert "Access-Control-Allow-Credentials" not in shown.headers
        assert api.ask(path, token=READER).headers["Access-Control-Allow-Origin"] is None

        printed = asked("link", one, "--expires", "1h", "--show", "counts,facts", "--json", environment=environment)
        assert api.ask(f"{path}/progress?link={printed['token']}").json["snapshot"]["facts"] == []
        strangers = {**provisioned, "HEADCOUNT_API_LINK_KEYS": OTHER_KEYS}
        foreign = asked("link", one, "--json", environment=strangers)["token"]
        gone = asked("link", one, "--json", environment=environment)
        with psycopg.connect(database_url, autocommit=True) as database:
            database.execute("DELETE FROM progress_link WHERE id = %s", (gone["id"],))

        signature = token.rindex(".") + 1
        unsigned = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).decode().rstrip("=")
        refused = [
            *(f"{path}/progress?link={altered(token, at)}" for at in (0, 6, 60, signature)),
            f"{path}/events?link={foreign}",
            f"{path}/events?link={gone['token']}",
            f"{path}/events?link={token[:-1]}",
            f"{path}/events?link={unsigned}.e30.",
            f"{path}/events?link=",
            f"/v1/orchestrations/{other}/events?link={token}",
            f"{path}?link={token}",
            f"{path}/results?link={token}",
            f"{path}/jobs?link={token}",
            f"/v1/workers?link={token}",
        ]
        for each in refused:
            answer = api.ask(each)
            assert (answer.status, answer.json["detail"]) == (401, "credentials that count are needed"), each
        assert api.ask(f"{path}/events?link={token}", method="POST").status == 401

        stream = EventSource(api, made.json["path"])
        await until(lambda: stream.state, what="the stream has begun")
        poll = f"{path}/progress?link={token}&wait_seconds=30&cursor={stream.last}"
        waiting = asyncio.get_running_loop().run_in_executor(None, api.ask, poll)
        listed = api.ask(f"{path}/links", token=READER).json
        assert [link["show"] for link in listed] == [["counts", "facts"], ["counts"]] or len(listed) == 3
        assert api.ask(f"/v1/links/{made.json['id']}", method="DELETE", token=OPERATOR).status == 204
        assert api.ask(f"/v1/links/{uuid4()}", method="DELETE", token=OPERATOR).status == 404
        await until(stream.ended.is_set, within=15, what="the stream of a revoked link has ended")
        assert (await waiting).status == 401
        assert api.ask(f"{path}/events", method="HEAD", token=READER).status == 405
        assert api.ask(made.json["path"]).status == 401
        typed("link", one, "--revoke", printed["id"], environment=environment)
        assert api.ask(f"{path}/progress?link={printed['token']}").status == 401

        assert api.ask(f"{path}/cancel", method="POST", token=OPERATOR).json == {"count": 1}
        entries = api.ask(f"/v1/audit?orchestration_id={one}", token=READER).json["items"]
        ours = [(entry["caller"], entry["action"], entry["count"]) for entry in entries if entry["caller"] == "operate"]
        assert ours == [("operate", "cancel", 1), ("operate", "revoke", 1), ("operate", "link", 1)]
        assert len(entries) == 7
        assert api.ask("/v1/audit?action=cancel&limit=1", token=READER).json["items"][0]["orchestration_id"] == one
        for secret in (token, printed["token"], foreign):
            assert secret not in api.log
            assert secret.split(".")[1] not in api.log


def test_a_link_needs_a_key_that_can_be_read(provisioned: dict[str, str]) -> None:
    unset = typed("link", str(uuid4()), environment=provisioned, code=2)
    assert "HEADCOUNT_API_LINK_KEYS is not set" in unset.stderr
    weak = {**provisioned, "HEADCOUNT_API_LINK_KEYS": "k:abcdef"}
    for command in (("link", str(uuid4())), ("api",)):
        told = typed(*command, environment=weak, code=2).stderr
        assert "at least 32 bytes in hex" in told
        assert "abcdef" not in told

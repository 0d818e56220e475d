"""`headcount api`: orchestrations kicked off, followed, read and ended over HTTP, by a real server."""

from __future__ import annotations

import time
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess
from tests.system.api_process import EXIT_SECONDS, ApiProcess
from tests.system.commands import with_handlers

HANDLERS = '''
"""A handler with a secret among its params."""
from pydantic import BaseModel, Field

from daemon import job


class Pay(BaseModel):
    amount: int
    card: str = Field(json_schema_extra={"writeOnly": True})


@job("pay", max_attempts=1)
async def pay(params: Pay) -> dict:
    if params.amount < 0:
        raise ValueError("less than nothing")
    return {"paid": params.amount}
'''
CARD = "4000-1234-5678-9010"


@pytest.fixture
def environment(database_url: str, project: str, pubsub: str, tmp_path: Path) -> dict[str, str]:
    """Settings of this test's worker and API, its topics provisioned, its handler written."""
    return with_handlers(HANDLERS, tmp_path, database_url, project, pubsub, slots=4)


async def test_an_orchestration_is_kicked_off_followed_and_read_over_http(
    environment: dict[str, str], tmp_path: Path
) -> None:
    async with ApiProcess(environment, tmp_path) as api, WorkerProcess(environment, tmp_path):
        body = {
            "job_name": "pay",
            "params": [{"amount": amount, "card": CARD} for amount in (5, -1, 7)],
            "tags": {"batch": "7"},
        }
        begun = api.ask("/v1/orchestrations", body, headers={"Idempotency-Key": "once"})
        assert begun.status == 201, begun.body
        path = begun.headers["Location"]
        assert path == f"/v1/orchestrations/{begun.json['id']}"
        again = api.ask("/v1/orchestrations", body, headers={"Idempotency-Key": "once"})
        assert again.json["id"] == begun.json["id"]
        await until(lambda: api.ask(path).json["outcome"] == "Partial", what="the orchestration is complete")

        items = api.ask(f"{path}/results").json["items"]
        assert {one["index"]: one.get("result") for one in items} == {0: {"paid": 5}, 1: None, 2: {"paid": 7}}
        assert all(one["params"]["card"] == "***" for one in items)
        (failed,) = api.ask(f"{path}/results?status=Errored").json["items"]
        assert (failed["index"], failed["error"]["kind"]) == (1, "Raised")
        streamed = api.ask(f"{path}/results", headers={"Accept": "application/jsonl"})
        assert streamed.headers["Content-Type"] == "application/jsonl"
        assert streamed.lines == items

        jobs = api.ask(f"{path}/jobs?limit=2").json
        assert [one["status"] for one in jobs["items"]] == ["Completed", "Errored"]
        (last,) = api.ask(jobs["next"]).json["items"]
        assert last["index"] == 2
        shown = api.ask(f"/v1/jobs/{failed['job_id']}").json
        assert shown["params"] == {"amount": -1, "card": "***"}
        assert shown["history"][0]["message"] == "ValueError: less than nothing"
        assert api.ask(f"{path}/explain").json["verdicts"][0]["verdict"] in ("COMPLETE", "EVENT_PENDING")

        (handler,) = api.ask("/v1/handlers").json
        assert (handler["name"], handler["secrets"]) == ("pay", ["/card"])
        assert handler["params_schema"]["properties"]["amount"] == {"title": "Amount", "type": "integer"}
        (worker,) = api.ask("/v1/workers").json
        assert worker["slots"] == 4

        await until(lambda: api.ask(path).json["event_published_at"], what="the event is published")
        assert api.ask(f"{path}/retry", method="POST").json == {"count": 1}
        await until(lambda: api.ask(path).json["outcome"] == "Partial", what="it is complete again")
        assert api.ask(path).json["generation"] == 2
        assert api.ask(f"{path}/cancel", method="POST").json == {"count": 0}
        assert CARD not in api.log


async def test_pages_filters_cancels_and_refused_requests_need_no_worker(
    environment: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    async with ApiProcess(environment, tmp_path, body_limit_bytes=4096) as api:
        made = [
            api.ask("/v1/orchestrations", {"job_name": "pay", "params": [{}] * size, "tags": {"size": str(size)}})
            for size in (1, 2, 3)
        ]
        ids = [one.json["id"] for one in made]
        page = api.ask("/v1/orchestrations?limit=2&state=running").json
        assert [one["id"] for one in page["items"]] == [ids[2], ids[1]]
        rest = api.ask(page["next"]).json
        assert ([one["id"] for one in rest["items"]], rest["next"]) == ([ids[0]], None)
        tagged = api.ask("/v1/orchestrations?tag=size%3D2&job_name=pay&newer_than_seconds=3600").json
        assert [one["id"] for one in tagged["items"]] == [ids[1]]

        assert api.ask(f"/v1/orchestrations/{ids[2]}/cancel", method="POST").json == {"count": 3}
        refused = api.ask(f"/v1/orchestrations/{ids[1]}/retry", method="POST")
        assert (refused.status, refused.headers["Content-Type"]) == (409, "application/problem+json")
        later = {"job_name": "pay", "params": [{}], "start_at": "2099-01-01T00:00:00Z", "deadline_seconds": 9e7}
        assert api.ask("/v1/orchestrations", later).json["deadline"] is not None

        unknown = api.ask(f"/v1/orchestrations/{uuid4()}", headers={"X-Request-Id": "trace-1"})
        assert unknown.status == 404
        assert unknown.json["request_id"] == unknown.headers["X-Request-Id"] == "trace-1"
        assert api.ask(f"/v1/jobs/{uuid4()}").status == 404
        assert api.ask("/v1/nothing").json["title"] == "Not Found"
        assert api.ask("/v1/workers", method="DELETE").status == 405

        wrong = api.ask("/v1/orchestrations", {"job_name": "pay", "params": [{"card": CARD}], "tag": {"card": CARD}})
        assert wrong.status == 422
        assert wrong.json["errors"] == [{"location": "body/tag", "message": "Extra inputs are not permitted"}]
        nameless = {"job_name": "", "params": []}
        assert api.ask("/v1/orchestrations", nameless).status == 422
        assert api.ask("/v1/orchestrations", b'{"job_name": "pay", "params": ' + b"[" * 3_000).status in (400, 422)
        huge = api.ask("/v1/orchestrations", {"job_name": "pay", "params": [{"n": "x" * 5_000}]})
        assert (huge.status, huge.json["detail"]) == (413, "the body is over 4096 bytes")
        for hostile in ("tag=%00%3D1", "job_name=%00", "after=1", "limit=0", "older_than_seconds=nan"):
            assert api.ask(f"/v1/orchestrations?{hostile}").status == 422, hostile
        assert CARD not in api.log

        with psycopg.connect(database_url) as database:
            database.execute(
                "INSERT INTO rejected_message (message_id, reason, text, data, attributes)"
                " SELECT n::text, 'BadUuid', 'a line', 'x', '{}' FROM generate_series(1, 3) n"
            )
        page = api.ask("/v1/rejected?newest=true&limit=2&reason=BadUuid").json
        assert [one["message_id"] for one in page["items"]] == ["3", "2"]
        assert [one["message_id"] for one in api.ask(page["next"]).json["items"]] == ["1"]

        document = api.ask("/v1/openapi.json").json
        assert document["openapi"].startswith("3.1")
        assert {"/v1/orchestrations/{orchestration_id}/results", "/v1/jobs/{job_id}"} <= document["paths"].keys()
        counted = (
            'headcount_api_requests_total{method="POST",pool="default",route="/v1/orchestrations",status="201"} 4.0'
        )
        assert counted in api.body_of("/metrics")
        assert UUID(ids[0])

        began = time.monotonic()
        api.terminate()
        await api.until_exit()
        assert time.monotonic() - began < EXIT_SECONDS

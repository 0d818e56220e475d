"""Who is let in by `headcount api`, and that nobody learns from a refusal why."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

from tests.system.api_process import OPERATOR, READER, ApiProcess, tokens
from tests.system.commands import typed


async def test_every_refusal_is_the_same_and_logged_without_the_token(
    provisioned: dict[str, str], tmp_path: Path
) -> None:
    known = tokens(read=READER, operate=OPERATOR)
    accounts = {"audience": "https://jobs.example", "accounts": "deploy@p.iam.gserviceaccount.com:operate"}
    async with ApiProcess(provisioned, tmp_path, tokens=known, **accounts) as api:
        assert api.ask("/v1/workers", token=READER).json == []
        assert api.ask("/v1/workers", token=OPERATOR).json == []
        unsigned = "eyJhbGciOiJub25lIiwia2lkIjoiMSJ9.eyJlbWFpbCI6ImRlcGxveUBwIn0."
        wrong = [f"{READER}x", READER[:-1], "x" * 9_000, unsigned, "ü"]
        refused = [api.ask("/v1/workers", token=token.encode().decode("latin-1")) for token in wrong]
        refused += [api.ask("/v1/workers"), api.ask("/v1/workers", headers={"Authorization": f"Basic {READER}"})]
        refused += [api.ask(f"/v1/orchestrations/{uuid4()}"), api.ask("/v1/nothing"), api.ask("/v1/openapi.json")]
        for answer in refused:
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="headcount"'
            assert answer.json["detail"] == "credentials that count are needed"

        path = f"/v1/orchestrations/{uuid4()}"
        assert api.ask(path, token=READER).status == 404
        assert api.ask(f"{path}/cancel", method="POST", token=READER).status == 403
        assert api.ask(f"{path}/cancel", method="POST", token=OPERATOR).status == 404
        oversized = api.ask("/v1/orchestrations", b"x" * 100_000)
        assert oversized.status == 401, "nobody's body is read before it is known whose it is"

        reasons = {record["reason"] for record in api.log_records() if record["message"] == "a request was refused"}
        assert reasons == {"unknown_token", "no_token", "identity_token", "role"}
        assert 'headcount_api_refusals_total{pool="default",reason="unknown_token"} 3.0' in api.body_of("/metrics")
        for secret in (READER, OPERATOR, unsigned):
            assert secret not in api.log
        assert READER[:-1] not in api.log


async def test_without_tokens_only_this_machine_is_let_in_and_no_page_of_the_web(
    provisioned: dict[str, str], tmp_path: Path
) -> None:
    async with ApiProcess(provisioned, tmp_path) as api:
        assert api.ask("/v1/workers").status == 200
        assert api.ask("/v1/workers", headers={"Host": "rebound.example:8080"}).status == 401
        assert api.ask("/v1/workers", headers={"Origin": "https://evil.example"}).status == 401
        assert api.ask("/v1/workers", headers={"Origin": "null"}).status == 401

    started = typed("api", environment={**provisioned, "HEADCOUNT_API_HOST": "0.0.0.0"}, code=2)
    assert "would let nobody in" in started.stderr
    taken = typed("api", environment={**provisioned, "HEADCOUNT_API_TOKENS": READER}, code=2)
    assert "NAME:read|operate:SHA256" in taken.stderr
    assert READER not in taken.stderr


async def test_access_is_open_on_another_address_only_when_that_is_said(
    provisioned: dict[str, str], tmp_path: Path
) -> None:
    async with ApiProcess(provisioned, tmp_path, host="0.0.0.0", auth="off") as api:
        assert api.ask("/v1/workers", headers={"Host": "jobs.example"}).status == 200


def test_without_the_extra_the_command_names_it(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'fastapi':\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    path = f"{tmp_path}{os.pathsep}{environment['PYTHONPATH']}"
    refused = typed("api", environment={**environment, "PYTHONPATH": path}, code=2)
    assert "pip install 'headcount[api]'" in refused.stderr
    typed("list", environment={**environment, "PYTHONPATH": path})

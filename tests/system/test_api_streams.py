"""Progress over HTTP: nothing is missed and nothing told twice, whatever is cut off or started again."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from uuid import uuid4

import pytest

from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess
from tests.system.api_process import EXIT_SECONDS, ApiProcess, EventSource
from tests.system.commands import with_handlers

HANDLERS = '''
"""A handler that the test lets go on, instance by instance."""
import asyncio
from pathlib import Path

from daemon import JobContext, job


@job("wait_for", max_attempts=1)
async def wait_for(params: dict, ctx: JobContext) -> dict:
    await ctx.progress(1, 2, "Creating image 1 of 2")
    while not Path(params["file"]).exists():
        await asyncio.sleep(0.02)
    if Path(params["file"]).read_text():
        raise ValueError("no")
    return {}
'''
COUNT = 6


@pytest.fixture
def environment(database_url: str, project: str, pubsub: str, tmp_path: Path) -> dict[str, str]:
    """Settings of this test's worker and API, its topics provisioned, its handler written."""
    return with_handlers(HANDLERS, tmp_path, database_url, project, pubsub, slots=10)


def kicked_off(api: ApiProcess, folder: Path) -> str:
    params = [{"file": str(folder / f"gate{index}")} for index in range(COUNT)]
    path = api.ask("/v1/orchestrations", {"job_name": "wait_for", "params": params}).headers["Location"]
    assert path is not None
    return path


def let_go(folder: Path, *indexes: int, fails: bool = False) -> None:
    for index in indexes:
        (folder / f"gate{index}").write_text("fails" if fails else "")


async def test_a_stream_is_followed_to_its_end_across_cuts_a_restart_and_a_retry(
    environment: dict[str, str], tmp_path: Path
) -> None:
    async with WorkerProcess(environment, tmp_path):
        async with ApiProcess(environment, tmp_path) as api:
            path = kicked_off(api, tmp_path)
            first = EventSource(api, f"{path}/events")
            await until(lambda: first.state and first.state["running"] == COUNT, what="all of them run")
            (snapshot,) = first.told("snapshot")
            assert (snapshot["reset"], snapshot["facts"], snapshot["state"]["total"]) == (False, [], COUNT)
            await until(lambda: first.state["instances"][0]["message"] == "Creating image 1 of 2", what="a message")
            let_go(tmp_path, 0, 1)
            await until(lambda: first.facts == [1, 2], what="two have finished")
            first.cut()
            let_go(tmp_path, 2, fails=True)
            second = EventSource(api, f"{path}/events", first.last)
            await until(lambda: second.facts == [3], what="the third is told, and no other again")
            assert second.told("facts")[0][0]["kind"] == "Raised"
            assert second.told("snapshot") == []
            poll = api.ask(f"{path}/progress?cursor={first.last}").json
            assert [fact["finish_number"] for fact in poll["facts"]] == [3]
            waited = api.ask(f"{path}/progress?cursor={poll['cursor']}&wait_seconds=0.1").json
            assert (waited["facts"], waited["state"]["errored"]) == ([], 1)
        async with ApiProcess(environment, tmp_path) as api:
            let_go(tmp_path, 3, 4, 5)
            third = EventSource(api, f"{path}/events", second.last)
            await until(third.ended.is_set, what="the stream has ended")
            assert third.facts == [4, 5, 6]
            assert third.told("final")[0]["outcome"] == "Partial"
            assert third.last.endswith(".final")
            done = EventSource(api, f"{path}/events", third.last)
            await until(done.ended.is_set, what="there is nothing more")
            assert (done.status, done.events) == (204, [])
            assert api.ask(f"{path}/progress?cursor={third.last}").status == 204

            await until(lambda: api.ask(path).json["event_published_at"], what="the event is published")
            let_go(tmp_path, 2)
            api.ask(f"{path}/retry", method="POST")
            again = EventSource(api, f"{path}/events", third.last)
            await until(again.ended.is_set, what="the second generation has ended")
            (snapshot,) = again.told("snapshot")
            assert snapshot["reset"] is True
            numbers = [fact["finish_number"] for fact in snapshot["facts"]] + again.facts
            assert numbers == [1, 2, 4, 5, 6, 7]
            assert again.told("final")[0]["outcome"] == "Completed"
            strange = EventSource(api, f"{path}/events", "not a cursor")
            await until(strange.ended.is_set, what="a strange cursor gets all of it")
            assert strange.told("snapshot")[0]["reset"] is True


async def test_a_sigterm_ends_streams_in_order_also_those_of_clients_that_never_read(
    environment: dict[str, str], tmp_path: Path
) -> None:
    async with ApiProcess(environment, tmp_path, stream_seconds=3) as api:
        waiting = EventSource(api, f"/v1/orchestrations/{uuid4()}/events")
        await until(lambda: waiting.told("snapshot"), what="an id that is not registered has a snapshot")
        assert waiting.told("snapshot")[0] == {"reset": False, "state": None, "facts": []}
        assert api.ask("/v1/orchestrations/5/events").status == 404
        path = kicked_off(api, tmp_path)
        short = EventSource(api, f"{path}/events")
        await until(short.ended.is_set, what="a stream has ended by plan")
        assert [name for name, _, _ in short.events] == ["snapshot"]

        deaf = [socket.create_connection(("127.0.0.1", api.api_port)) for _ in range(30)]
        for one in deaf:
            one.sendall(f"GET {path}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await until(lambda: "headcount_api_streams" in api.body_of("/metrics"), what="metrics")
        await until(lambda: _streams(api) >= 30, what="all of them are open")
        streams = [EventSource(api, f"{path}/events") for _ in range(10)]
        await until(lambda: all(one.told("snapshot") for one in streams), what="all have their snapshot")
        began = time.monotonic()
        api.terminate()
        await api.until_exit()
        assert time.monotonic() - began < EXIT_SECONDS
        assert all(one.ended.wait(5) for one in streams)
        for one in deaf:
            one.close()


def _streams(api: ApiProcess) -> float:
    lines = api.body_of("/metrics").splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("headcount_api_streams{")))

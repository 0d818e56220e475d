"""Google's own emulator, the second server that the conformance checks judge, and what it is known not to do.

Used by the conftest beside it. The gaps were seen in version 0.8.20; a check named here is not run against it.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.contract.pubsub.jury import reachable

GAPS = {
    "bad_filter_is_refused": "it accepts any text as a filter",
    "cancelled_stream_gives_messages_back": "it goes on delivering to the cancelled stream",
    "exactly_once_acks": "it goes on delivering to a stream that was closed",
    "filters_select": "it ignores filters",
    "flow_control_100_server": "it ignores max_outstanding_messages",
    "lost_connection_gives_messages_back": "it goes on delivering to the lost stream",
    "ordering_key_nack_replays_in_order": "it redelivers the nacked message alone",
    "publish_rejects_bad_messages": "it takes messages over 10 MB",
    "responses_stay_under_4_mib": "it sends responses over the client's limit",
    "retry_policy_backs_off": "its first redelivery comes at once",
}
LAUNCHER = Path("platform/pubsub-emulator/bin/cloud-pubsub-emulator")
START_SECONDS = 40.0


def emulator_launcher() -> Path | None:
    """Where the Google Cloud CLI keeps it, if it is there and Java is."""
    gcloud = shutil.which("gcloud")
    roots = [Path("/usr/lib/google-cloud-sdk"), Path.home() / "google-cloud-sdk"]
    if gcloud:
        roots.insert(0, Path(gcloud).resolve().parent.parent)
    found = (root / LAUNCHER for root in roots if (root / LAUNCHER).exists())
    return next(found, None) if shutil.which("java") else None


@contextlib.contextmanager
def running_emulator(launcher: Path, log: Path) -> Iterator[str]:
    """Its address, on a free port. It writes a lot: to a file, as a pipe that nobody empties would stop it."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(launcher), "--host=127.0.0.1", f"--port={port}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        if not reachable(address, START_SECONDS):
            raise RuntimeError(f"Google's emulator did not start:\n{log.read_text(errors='replace')}")
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])

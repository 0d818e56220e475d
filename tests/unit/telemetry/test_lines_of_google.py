"""Lines of Google's clients: the first client that is made cuts their logger off, unless somebody was there before."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("made", ["before", "after"])
def test_what_googles_clients_warn_of_is_heard_whether_one_was_made_before_or_after(made: str) -> None:
    configure_then = "client(); configure()" if made == "before" else "configure(); client()"
    program = f"""
import logging
from google.auth.credentials import AnonymousCredentials
from google.pubsub_v1 import SubscriberClient
from daemon.telemetry.logs import configure
def client(): SubscriberClient(credentials=AnonymousCredentials())
{configure_then}
logging.getLogger("google.cloud.pubsub_v1").warning("a warning of theirs")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert '"message":"a warning of theirs"' in ended.stderr.replace('": "', '":"')

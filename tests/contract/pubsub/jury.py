"""Runs checks against one server: side by side those that wait, alone those that measure.

Called by the script `conformance` and by pytest. A check runs on a thread of its own, so that a hang is a verdict too.
"""

import concurrent.futures
import threading
from collections.abc import Iterable
from dataclasses import dataclass

import grpc

from tests.contract.pubsub.bench import Bench, Failed
from tests.contract.pubsub.checks import Check


@dataclass(frozen=True)
class Verdict:
    name: str
    passed: bool
    detail: str


class Jury:
    """Starts at once with every check that may run beside others; `verdict` waits for one."""

    def __init__(self, address: str, checks: Iterable[Check], messages: int = 20_000) -> None:
        self._address = address
        self._messages = messages
        self._verdicts = {check.name: self._begin(check) for check in checks if not check.alone}

    def verdict(self, check: Check) -> Verdict:
        """A check that measures begins now, when all others are done."""
        if check.alone:
            concurrent.futures.wait(self._verdicts.values())
            return self._begin(check).result()
        return self._verdicts[check.name].result()

    def _begin(self, check: Check) -> concurrent.futures.Future[Verdict]:
        verdict: concurrent.futures.Future[Verdict] = concurrent.futures.Future()
        threading.Thread(target=self._judge, args=(check, verdict), daemon=True, name=check.name).start()
        return verdict

    def _judge(self, check: Check, verdict: concurrent.futures.Future[Verdict]) -> None:
        clock = threading.Timer(check.limit, give, (verdict, check, False, f"no verdict within {check.limit:.0f} s"))
        clock.start()
        bench = Bench(self._address, self._messages)
        try:
            give(verdict, check, True, check.run(bench))
        except Failed as failure:
            give(verdict, check, False, str(failure))
        except Exception as error:
            give(verdict, check, False, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
        finally:
            clock.cancel()
            bench.close()


def give(verdict: concurrent.futures.Future[Verdict], check: Check, passed: bool, detail: str) -> None:
    """The first one counts."""
    if not verdict.done():
        verdict.set_result(Verdict(check.name, passed, detail))


def reachable(address: str, within: float = 10.0) -> bool:
    with grpc.insecure_channel(address) as probe:
        try:
            grpc.channel_ready_future(probe).result(timeout=within)
        except grpc.FutureTimeoutError:
            return False
    return True

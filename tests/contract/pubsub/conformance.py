"""Judge a Pub/Sub server by how Google's client gets on with it.

    python -m tests.contract.pubsub.conformance 127.0.0.1:8085 [--only TEXT] [--no-speed]

The address may also come from PUBSUB_EMULATOR_HOST. Prints a line for each check and exits with 1 if one failed,
2 if there is no server. Nothing but loopback is accepted: the checks make and delete topics.
"""

import argparse
import os
import sys

from tests.contract.pubsub.checks import CHECKS
from tests.contract.pubsub.jury import Jury, reachable

LOOPBACK = ("127.", "localhost:", "[::1]:")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Judge a Pub/Sub server by how Google's client gets on with it.")
    parser.add_argument("address", nargs="?", default=os.environ.get("PUBSUB_EMULATOR_HOST", ""), help="HOST:PORT")
    parser.add_argument("--only", metavar="TEXT", default="", help="run the checks whose name contains TEXT")
    parser.add_argument("--no-speed", action="store_true", help="leave out the checks that measure speed")
    parser.add_argument("--messages", type=int, default=20_000, help="messages in the speed checks")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    if not options.address.startswith(LOOPBACK):
        print(f"{options.address or 'no address'}: give HOST:PORT of a server on this machine", file=sys.stderr)
        return 2
    if not reachable(options.address):
        print(f"no gRPC server at {options.address}", file=sys.stderr)
        return 2
    chosen = [one for one in CHECKS if options.only in one.name and not (one.alone and options.no_speed)]
    jury = Jury(options.address, chosen, options.messages)
    failed = 0
    for one in sorted(chosen, key=lambda one: one.alone):
        verdict = jury.verdict(one)
        failed += not verdict.passed
        print(f"{'PASS' if verdict.passed else 'FAIL'} {verdict.name:<42} {verdict.detail}", flush=True)
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # threads of a client that hangs must not keep the process: the verdicts are out

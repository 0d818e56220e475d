"""`headcount`, and `python -m daemon`: runs a command and turns what it raises into a sentence and an exit code.

Called by the console script and by Python. It decides nothing else: the commands are in `cli/`.
"""

from __future__ import annotations

import os
import sys

from daemon.errors import HeadcountError


def main() -> None:
    """Run the command on the command line and end the process with its exit code."""
    # Before anything imports grpc: what starts servers and workers forks, and grpc's own threads do not survive that.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    from daemon.cli.app import app

    try:
        app(prog_name="headcount")
    except HeadcountError as error:
        from daemon.cli.output import echo_error

        sys.exit(echo_error(error))


if __name__ == "__main__":
    main()

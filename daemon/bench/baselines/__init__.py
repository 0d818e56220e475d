"""The baselines: what the parts can do without Headcount, each in a process of its own.

Started by the scenarios with `measure`, seconds before and after what they are compared with. A baseline takes its
arguments as JSON on the command line and prints its figures as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys

LONGEST = 600.0


def measure(baseline: str, **arguments: object) -> dict[str, float]:
    """Run `daemon.bench.baselines.<baseline>` to its end; its figures."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", f"daemon.bench.baselines.{baseline}", json.dumps(arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=LONGEST,
        check=True,
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures

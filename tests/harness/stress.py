"""`make stress`: the tests again and again while every processor is busy, to find those that depend on luck.

Started by hand: `python -m tests.harness.stress TIMES [pytest's arguments]`. It changes nothing in how tests are run.
"""

from __future__ import annotations

import collections
import re
import subprocess
import sys

from tests.chaos.busy_cores import busy_cores

LOOPS_PER_PROCESSOR = 1
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


def main(times: int, arguments: list[str]) -> int:
    """Run pytest `times` times; the status is 1 if a test failed in any of them."""
    failures: collections.Counter[str] = collections.Counter()
    closing_lines = []
    with busy_cores(LOOPS_PER_PROCESSOR):
        for number in range(1, times + 1):
            text = _run([sys.executable, "-m", "pytest", *arguments])
            failures.update(set(FAILED.findall(text)))
            closing_lines.append(f"run {number} of {times}: {text.splitlines()[-1]}")
    print(
        *closing_lines, *(f"failed in {count} of {times}: {test}" for test, count in failures.most_common()), sep="\n"
    )
    return 1 if failures else 0


def _run(command: list[str]) -> str:
    """All that a command prints, which is printed meanwhile too."""
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode not in (0, 1):
        lines.append(f"ERROR pytest ended with status {process.returncode}\n")
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))

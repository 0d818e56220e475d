"""`python -m tests.chaos`: every scenario, its figures as tables or as JSON; exit code 1 when one is out of its limits.

`--only WORD` runs the scenarios whose names hold the word; LONG=1 in the environment adds the ten-minute outages.
`storm` breaks workers, Pub/Sub and Postgres; `storm-delayed` cuts and delays the links to Postgres while orchestrations
are cancelled and retried.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
import traceback

from rich.console import Console

from tests.chaos.report import Report, as_json, show
from tests.chaos.scenario_list import scenarios


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--only", action="append", metavar="WORD", help="scenarios whose names hold it (repeatable)")
    parser.add_argument("--list", action="store_true", help="name the scenarios and run none")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout, tables on stderr")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    chosen = {
        name: scenario
        for name, scenario in scenarios(long=bool(os.environ.get("LONG"))).items()
        if not options.only or any(word in name for word in options.only)
    }
    if options.list:
        print(*chosen, sep="\n")
        return 0
    console = Console(stderr=options.json)
    reports = []
    for name, scenario in chosen.items():
        began = time.monotonic()
        console.print(f"[dim]{name} ...[/]")
        try:
            report: Report = asyncio.run(scenario())
        except Exception as error:
            traceback.print_exc()
            report = Report(name)
            report.none_of("scenarios that came to no end", [f"{type(error).__name__}: {error}"[:500]])
        report.note("took, s", time.monotonic() - began)
        show(report, console)
        reports.append(report)
    broken = [line for report in reports for line in report.broken]
    console.print(*(broken or [f"all {len(reports)} scenarios are within their limits"]), sep="\n")
    if options.json:
        print(as_json(reports))
    return 1 if broken or not reports else 0


if __name__ == "__main__":
    sys.exit(main())

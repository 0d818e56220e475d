"""`headcount bench`: is this machine, and this release, as fast as it is said to be?

Called by whoever wants to know. It starts servers of its own, measures real workers against baselines of the same
minute, and ends with exit code 1 if a promise is broken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import AsJson
from daemon.cli.output import Cell, Exit, echo_err, echo_json, show_table

if TYPE_CHECKING:
    from daemon.bench.figures import Figure

VERDICTS: dict[bool | None, Cell] = {None: "", True: ("pass", "green"), False: ("FAIL", "bold red")}


def bench(
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="Only this scenario; may be repeated.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, max=99, help="How often; medians are shown.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Small numbers, under a minute.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure throughput, latency and costs of real workers on this machine, each beside its baseline and its bar.

    Scenarios: throughput, throughput-wide, processes, latency, fan-out, many-small, big-params, history, kick-off,
    recovery, long-jobs, fleet, soak.
    """
    from daemon.bench.suite import SCENARIOS, chosen, measured
    from daemon.cli.local import end_like_ctrl_c

    try:
        names = chosen(only or [], quick)
    except KeyError as unknown:
        raise typer.BadParameter(f"{unknown} is not a scenario; there are {', '.join(SCENARIOS)}") from None
    end_like_ctrl_c()
    figures = measured(names, quick=quick, runs=runs, say=echo_err)
    if as_json:
        echo_json([figure.as_json() for figure in figures])
    else:
        _show(figures)
    broken = [figure for figure in figures if figure.passed is False]
    raise typer.Exit(Exit.FAILED if broken else Exit.OK)


def _show(figures: list[Figure]) -> None:
    rows: list[tuple[Cell, ...]] = []
    last = ""
    for figure in figures:
        verdict = VERDICTS[figure.passed]
        spread = "" if figure.spread is None else f"{_number(figure.spread[0])} - {_number(figure.spread[1])}"
        first = figure.scenario if figure.scenario != last else ""
        rows.append((first, figure.name, _number(figure.value), figure.unit, str(figure.bar or ""), verdict, spread))
        last = figure.scenario
    show_table(("scenario", "figure", "value", "unit", "bar", "", "lowest and highest"), rows)


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value else "0"

"""The command `sim membership`: how soon failures are found out, the cost of that, and how often
the living are taken for dead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from kvgossip.cli.errors import CommandError, complain
from kvgossip.cli.output import Format, Output, print_json, print_table
from kvgossip.cli.sim.options import Jobs, Json, Runs, Seed, parameters_of, sizes_of
from kvgossip.cli.sim.rows import Row, cell, mean_of, means_of
from kvgossip.cli.sim.trials import run_trials

if TYPE_CHECKING:
    from kvgossip.sim.papers.membership import MembershipOutcome, MembershipPlan, PauseKind

NODES = (3, 2000)
IN_PERIODS = ("first_suspect", "first_dead", "all_dead")
SHOWN = (
    "first_probe_periods", "crash_probe_periods", "first_suspect_s", "first_dead_s", "all_dead_s",
    "sent", "received", "messages", "bytes",
    "fp", "fp_healthy", "paused_dead",
)  # fmt: skip

Nodes = Annotated[
    str, typer.Option(metavar="N|N,N", help="How many members, one number or several.")
]
Periods = Annotated[
    int,
    typer.Option(min=1, max=100_000, help="Protocol periods in which messages are counted."),
]
Crash = Annotated[
    bool,
    typer.Option(
        "--crash/--no-crash", help="After these, one member crashes, until all others know."
    ),
]
Lifeguard = Annotated[
    bool,
    typer.Option("--lifeguard/--no-lifeguard", help="Lifeguard's additions, or plain SWIM."),
]
Loss = Annotated[
    float,
    typer.Option(metavar="P", min=0.0, max=0.9, help="Share of the datagrams that is lost."),
]
PauseFraction = Annotated[
    float,
    typer.Option(
        metavar="F", min=0.0, max=0.9, help="Share of the members that pause again and again."
    ),
]
PauseSeconds = Annotated[
    float,
    typer.Option(metavar="S", min=0.001, max=3600.0, help="Mean length of a pause, exponential."),
]
RunSeconds = Annotated[
    float,
    typer.Option(metavar="S", min=0.001, max=3600.0, help="Mean time between two, exponential."),
]
Kind = Annotated[
    str,
    typer.Option(
        metavar="network|process",
        help="Let only packets wait, or the timers of the member too.",
    ),
]
Parameter = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Any parameter of the configuration."),
]


def membership(
    nodes: Nodes = "8,64",
    periods: Periods = 10,
    crash: Crash = True,
    lifeguard: Lifeguard = True,
    loss: Loss = 0.0,
    pause_fraction: PauseFraction = 0.0,
    pause_s: PauseSeconds = 8.0,
    run_s: RunSeconds = 2.0,
    pause_kind: Kind = "network",
    parameter: Parameter = None,
    runs: Runs = 20,
    seed: Seed = 1,
    jobs: Jobs = None,
    as_json: Json = False,
    output: Output = Format.TABLE,
) -> None:
    """Measure the membership that ships beside SWIM (2002) and Lifeguard (2018): detection,
    messages, false positives.

    first_probe_periods is the period, counted from a crash, in which a member first probes the
    crashed member: SWIM expects e/(e-1) = 1.582, whatever n. It is taken of every member, as if it
    had crashed when the counting begins; crash_probe_periods is that of the member which does
    crash. Seconds are from the crash. sent and received are messages of the failure detector a
    member and period: 2.0 and 2.0 in SWIM. fp counts events in which a member takes for dead one
    that neither crashed nor pauses; fp_healthy those at members that do not pause themselves;
    paused_dead those about members that pause.

    Examples:

    - `kvgossip sim membership --nodes 8,64,512`
    - `kvgossip sim membership --nodes 32 --no-crash --periods 120 --pause-fraction 0.25 --parameter
      suspicion_multiplier=5`
    - the same with `--no-lifeguard`: what plain SWIM makes of it
    """
    from kvgossip.sim.papers.membership import MembershipPlan

    plan = MembershipPlan(
        nodes=2, seed=seed, periods=periods, crash=crash, lifeguard=lifeguard, loss=loss,
        pause_fraction=pause_fraction, pause_s=pause_s, run_s=run_s,
        pause_kind=_kind(pause_kind), parameters=parameters_of(parameter or []),
    )  # fmt: skip
    sizes = sizes_of(nodes, NODES)
    outcomes = _measure(_checked(plan), sizes, runs, jobs)
    rows = [
        _row(replace(plan, nodes=n), outcomes[place * runs : (place + 1) * runs])
        for place, n in enumerate(sizes)
    ]
    if as_json or output is Format.JSON:
        print_json(rows)
    else:
        _show(rows)


def _checked(plan: MembershipPlan) -> MembershipPlan:
    plan.config  # noqa: B018 - a wrong parameter is an error before the first run
    return plan


def _measure(
    plan: MembershipPlan, sizes: Sequence[int], runs: int, jobs: int | None
) -> list[MembershipOutcome]:
    """All runs of the first size, then those of the next one. Exits with 1 for a broken law."""
    from kvgossip.sim.checks.violation import BrokenLawError
    from kvgossip.sim.papers.membership import measure_membership

    trials = [
        partial(measure_membership, replace(plan, nodes=n, seed=plan.seed + run))
        for n in sizes
        for run in range(runs)
    ]
    try:
        return run_trials(trials, jobs, "membership")
    except BrokenLawError as broken:
        complain(str(broken), "a law of the protocol is broken: report it with this command line")
        raise typer.Exit(1) from broken


def _kind(text: str) -> PauseKind:
    from kvgossip.sim.papers.membership import PauseKind

    if text not in list(PauseKind):
        raise CommandError(f"--pause-kind {text} is unknown", f"choose {' or '.join(PauseKind)}")
    return PauseKind(text)


# -- the output ------------------------------------------------------------------------------------


def _row(plan: MembershipPlan, outcomes: Sequence[MembershipOutcome]) -> Row:
    row: Row = asdict(plan) | {
        "runs": len(outcomes),
        "expected_first_probe_periods": plan.expected_first_probe_periods,
    }
    row |= means_of(outcomes, SHOWN)
    for name in IN_PERIODS:
        times_s = [getattr(outcome, f"{name}_s") for outcome in outcomes]
        row |= mean_of(
            f"{name}_periods",
            [
                None if time_s is None else time_s / plan.config.probe_interval_s
                for time_s in times_s
            ],
        )
    kinds = sorted({kind for outcome in outcomes for kind in outcome.kinds})
    return row | {
        "kinds": {
            kind: sum(outcome.kinds.get(kind, 0.0) for outcome in outcomes) / len(outcomes)
            for kind in kinds
        }
    }


def _show(rows: Sequence[Row]) -> None:
    """A column for each size: there are more figures than sizes."""
    kinds = sorted({kind for row in rows for kind in row["kinds"]})
    figures = [[name, *(cell(row, name) for row in rows)] for name in SHOWN]
    figures += [
        [f"sent of {kind}", *(f"{row['kinds'].get(kind, 0.0):.3f}" for row in rows)]
        for kind in kinds
    ]
    figures.append(
        [
            "first probe by uniform choice",
            *(f"{row['expected_first_probe_periods']:.3f}" for row in rows),
        ]
    )
    print_table((f"{rows[0]['runs']} runs", *(f"n = {row['nodes']}" for row in rows)), figures)


def register(sim_app: typer.Typer) -> None:
    epilog = "Exit code: 0 measured; 1 a law of the protocol was broken; 2 wrong usage."
    sim_app.command(epilog=epilog)(membership)

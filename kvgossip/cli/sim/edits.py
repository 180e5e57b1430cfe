"""The command `sim types`: counters, sets and siblings under trial."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import typer

from kvgossip.cli.output import Format, Output
from kvgossip.cli.sim.options import CHECKED, FirstSeed, Jobs, Json, Seeds, Trace
from kvgossip.cli.sim.reports import conclude
from kvgossip.cli.sim.trials import run_trials

if TYPE_CHECKING:
    from kvgossip.sim.report import Report


def edits(
    context: typer.Context,
    seed: FirstSeed = 1,
    runs: Seeds = 1,
    jobs: Jobs = None,
    trace: Trace = 0,
    as_json: Json = False,
    output: Output = Format.TABLE,
) -> None:
    """Try types: clients edit counters, sets and siblings on hosts that crash, stay away, are
    forgotten and come back, under partitions and with clocks that differ; in one to three
    datacenters.

    No value may go that no edit has superseded, none may come back, and a counter counts each
    acknowledged increment once. At the end what was seen and deleted must have been pruned.

    Examples:

    - `kvgossip sim types --runs 100`
    - `kvgossip sim types --seed 7 --trace 200`: what happened last in this run
    """
    trials = [partial(_simulate, number, trace) for number in range(seed, seed + runs)]
    reports = run_trials(trials, jobs, "simulating")
    conclude(reports, as_json or output is Format.JSON, context, "types")


def _simulate(seed: int, trace_length: int) -> Report:
    from kvgossip.sim.editing import editing_options
    from kvgossip.sim.simulation import simulate

    return simulate(seed, editing_options(seed), trace_length)


def register(sim_app: typer.Typer) -> None:
    sim_app.command("types", epilog=CHECKED)(edits)

"""The command `sim deletes`: deletes under trial, with hosts that come back after any absence."""

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


def deletes(
    context: typer.Context,
    seed: FirstSeed = 1,
    runs: Seeds = 1,
    jobs: Jobs = None,
    trace: Trace = 0,
    as_json: Json = False,
    output: Output = Format.TABLE,
) -> None:
    """Try deletes: hosts with disks that return after any absence, also when they were forgotten;
    expiries; machines that are set back, wrong clocks, holes in disks, and liars; one to three
    datacenters.

    No deleted value may live again, no acknowledged write may be lost: what a member lies about is
    in a quarantine, with a WARNING. At the end all tombstones must go, and it must be quiet.

    Examples:

    - `kvgossip sim deletes --runs 100`
    - `kvgossip sim deletes --seed 7 --trace 200`: what happened last in this run
    """
    trials = [partial(_simulate, number, trace) for number in range(seed, seed + runs)]
    reports = run_trials(trials, jobs, "simulating")
    conclude(reports, as_json or output is Format.JSON, context, "deletes")


def _simulate(seed: int, trace_length: int) -> Report:
    from kvgossip.sim.deletion import deletion_options
    from kvgossip.sim.simulation import simulate

    return simulate(seed, deletion_options(seed), trace_length)


def register(sim_app: typer.Typer) -> None:
    sim_app.command(epilog=CHECKED)(deletes)

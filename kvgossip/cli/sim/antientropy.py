"""The command `sim antientropy`: anti-entropy in synchronous cycles (Demers et al. 1987)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated

import typer

from kvgossip.cli.output import Format, Output, print_json, print_table
from kvgossip.cli.sim.options import (
    MEASURED,
    SYNCHRONOUS,
    Jobs,
    Json,
    Plot,
    Runs,
    Seed,
    Talk,
    check_plot_option,
)
from kvgossip.cli.sim.rows import Row, cell, means_of
from kvgossip.cli.sim.trials import run_trials
from kvgossip.protocol.rumors.policy import Mode

if TYPE_CHECKING:
    from kvgossip.sim.papers.epidemic import AntiEntropyOutcome


def antientropy(
    sites: Annotated[int, typer.Option(min=2, help="How many sites.")] = 1000,
    mode: Talk = Mode.PUSH_PULL,
    runs: Runs = 200,
    seed: Seed = 1,
    jobs: Jobs = None,
    as_json: Json = False,
    output: Output = Format.TABLE,
    plot_file: Plot = None,
) -> None:
    """Anti-entropy: cycles until all sites know an update, and the share that lacks it after each
    cycle.

    Examples:

    - `kvgossip sim antientropy --mode push`: about log2 n + ln n cycles
    - `kvgossip sim antientropy --mode pull`: towards the end, the residue squares each cycle
    """
    from kvgossip.sim.papers.epidemic import estimate

    check_plot_option(plot_file)
    outcomes = run_trials(
        [partial(antientropy_trial, sites, mode, seed, run) for run in range(runs)],
        jobs,
        "anti-entropy",
    )
    residue = [
        estimate(cycle).mean
        for cycle in zip_longest(*(outcome.residue for outcome in outcomes), fillvalue=0.0)
    ]
    row: Row = {"sites": sites, "mode": mode.value, "runs": runs, "seed": seed} | means_of(
        outcomes, ("cycles",)
    )
    row |= {"cycles_max": max(outcome.cycles for outcome in outcomes), "residue_per_cycle": residue}
    if as_json or output is Format.JSON:
        print_json(row)
    else:
        print_table(
            ("cycle", "residue"), [(cycle, f"{share:.4g}") for cycle, share in enumerate(residue)]
        )
        expected = math.log2(sites) + math.log(sites)
        print(
            f"all know after {cell(row, 'cycles')} cycles, {row['cycles_max']} at most; log2 n + "
            f"ln n = {expected:.1f}"
        )
    if plot_file is not None:
        _plot(plot_file, sites, mode, residue)


def _plot(path: Path, sites: int, mode: Mode, residue: Sequence[float]) -> None:
    from kvgossip.cli.sim.figures import Axis, Curve, plot

    curve = Curve(mode.value, range(len(residue)), [share or math.nan for share in residue])
    plot(
        path,
        f"Anti-entropy among {sites} sites",
        Axis("cycle"),
        Axis("residue", logarithmic=True),
        [curve],
    )


def antientropy_trial(sites: int, mode: Mode, seed: int, run: int) -> AntiEntropyOutcome:
    """One run."""
    from kvgossip.sim.papers.epidemic import spread_by_anti_entropy

    return spread_by_anti_entropy(sites, mode, Random(f"{seed} anti-entropy {run}"))


def register(sim_app: typer.Typer) -> None:
    sim_app.command(rich_help_panel=SYNCHRONOUS, epilog=MEASURED)(antientropy)

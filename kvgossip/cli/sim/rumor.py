"""The command `sim rumor`: rumor mongering in synchronous cycles (Demers et al. 1987).

Every run has a random generator of its own, from the seed and the run's number: the same command
prints the same numbers, whatever --jobs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated

import typer

from kvgossip.cli.output import Format, Output
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
    numbers_of,
)
from kvgossip.cli.sim.rows import Row, means_of, show
from kvgossip.cli.sim.trials import run_trials
from kvgossip.protocol.rumors.policy import Mode, RumorPolicy

if TYPE_CHECKING:
    from kvgossip.sim.papers.epidemic import RumorOutcome

Sites = Annotated[int, typer.Option(min=2, help="How many sites.")]
K = Annotated[
    str,
    typer.Option(
        "--k",
        metavar="K|K-K|K,K",
        help="Contacts (or chance 1/k) until interest is lost, one or several.",
    ),
]
Feedback = Annotated[
    bool,
    typer.Option("--feedback/--blind", help="Count only contacts that knew the rumor, or all."),
]
Counter = Annotated[
    bool,
    typer.Option(
        "--counter/--coin", help="Lose interest after k contacts that count, or with 1/k at each."
    ),
]
ConnectionLimit = Annotated[
    int, typer.Option(min=0, help="Conversations a site accepts a cycle; 0: any number.")
]
Hunt = Annotated[int, typer.Option(min=0, help="How many others a refused site tries.")]
Minimization = Annotated[
    bool,
    typer.Option("--minimization", help="push-pull: only the smaller counter counts a contact."),
]


def rumor(
    sites: Sites = 1000,
    k: K = "3",
    mode: Talk = Mode.PUSH,
    feedback: Feedback = True,
    counter: Counter = True,
    connection_limit: ConnectionLimit = 0,
    hunt: Hunt = 0,
    minimization: Minimization = False,
    runs: Runs = 200,
    seed: Seed = 1,
    jobs: Jobs = None,
    as_json: Json = False,
    output: Output = Format.TABLE,
    plot_file: Plot = None,
) -> None:
    """Rumor mongering: residue (share of sites never reached), traffic (updates sent per site),
    average and last delay in cycles.

    Examples:

    - `kvgossip sim rumor --k 1-5`: Table 1 of Demers et al. 1987
    - `kvgossip sim rumor --k 1-5 --blind --coin`: its Table 2
    - `kvgossip sim rumor --k 1-3 --mode pull --runs 1000`: its Table 3
    - `kvgossip sim rumor --sites 100000 --connection-limit 1 --hunt 4`
    """
    check_plot_option(plot_file)
    policies = [
        RumorPolicy(int(number), mode, feedback, counter, connection_limit, hunt, minimization)
        for number in numbers_of(k, "--k", whole=True)
    ]
    trials = [
        partial(rumor_trial, sites, policy, seed, run) for policy in policies for run in range(runs)
    ]
    outcomes = run_trials(trials, jobs, "rumors")
    rows = [
        _row(sites, policy, seed, outcomes[place * runs : (place + 1) * runs])
        for place, policy in enumerate(policies)
    ]
    columns = ["k", "residue", "traffic", "t_average", "t_last"]
    columns += ["refused"] if connection_limit else []
    show(rows, columns, as_json or output is Format.JSON)
    if plot_file is not None:
        _plot(plot_file, rows)


def rumor_trial(sites: int, policy: RumorPolicy, seed: int, run: int) -> RumorOutcome:
    """One run."""
    from kvgossip.sim.papers.epidemic import spread_rumor

    return spread_rumor(sites, policy, Random(f"{seed} rumor {policy.k} {run}"))


def _row(sites: int, policy: RumorPolicy, seed: int, outcomes: Sequence[RumorOutcome]) -> Row:
    settings = {
        "sites": sites,
        **dataclasses.asdict(policy),
        "mode": policy.mode.value,
        "runs": len(outcomes),
        "seed": seed,
    }
    return settings | means_of(
        outcomes, ("residue", "traffic", "refused", "t_average", "t_last", "cycles")
    )


def _plot(path: Path, rows: Sequence[Row]) -> None:
    from kvgossip.cli.sim.figures import Axis, Curve, plot

    # A logarithm has no place for "reached everybody in every run".
    met = [row for row in rows if row["residue"]]
    traffic = [row["traffic"] for row in met]
    curves = [Curve("measured, one point a k", traffic, [row["residue"] for row in met])]
    curves.append(Curve("exp(-m)", traffic, [math.exp(-m) for m in traffic], theory=True))
    title = f"Rumor mongering among {rows[0]['sites']} sites, {rows[0]['mode']}"
    plot(
        path,
        title,
        Axis("traffic m, updates sent per site"),
        Axis("residue s", logarithmic=True),
        curves,
    )


def register(sim_app: typer.Typer) -> None:
    sim_app.command(rich_help_panel=SYNCHRONOUS, epilog=MEASURED)(rumor)

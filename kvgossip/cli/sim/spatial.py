"""The command `sim spatial`: peer selection by distance (Demers et al. 1987, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
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
    check_plot_option,
    numbers_of,
)
from kvgossip.cli.sim.rows import Row, mean_of, show
from kvgossip.cli.sim.trials import run_trials
from kvgossip.protocol.membership.spatial import Selection, SpatialPolicy

if TYPE_CHECKING:
    from kvgossip.sim.papers.spread import LinkTraffic

Shape = Annotated[
    str, typer.Option("--topology", metavar="line|ring|grid|tree", help="How the sites are linked.")
]
Sites = Annotated[
    str, typer.Option("--sites", metavar="N|N,N", help="How many sites, one number or several.")
]
Exponent = Annotated[
    str, typer.Option("--a", metavar="A|A,A", help="The exponent, one or several.")
]
SelectBy = Annotated[
    Selection,
    typer.Option(help="By distance, by rank in distance, or not at all.", show_choices=True),
]
UniformShare = Annotated[
    float, typer.Option(min=0, max=1, help="Share of choices that are uniform all the same.")
]
Cycles = Annotated[
    int, typer.Option(min=1, help="Cycles over which traffic is averaged, in each run.")
]
TrafficOnly = Annotated[
    bool,
    typer.Option(
        "--traffic-only", help="Do not measure cycles_until_all_know: it takes long for a > 2."
    ),
]
SHOWN = (
    "traffic_per_link_mean",
    "traffic_per_link_max",
    "traffic_middle_link",
    "cycles_until_all_know",
)


@dataclass(frozen=True, slots=True)
class SpatialTrial:
    """One run of `sim spatial`."""

    shape: str
    sites: int
    policy: SpatialPolicy
    cycles: int
    #: The update is not spread, which takes long for a > 2.
    traffic_only: bool
    seed: int
    run: int

    def __call__(self) -> tuple[LinkTraffic, int | None]:
        from kvgossip.sim.papers.spread import Neighbors, cycles_until_all_know, link_traffic
        from kvgossip.sim.papers.topology import topology

        shape = topology(self.shape, self.sites)
        rng, neighbors = Random(f"{self.seed} spatial {self.run}"), Neighbors(shape, self.policy)
        traffic = link_traffic(shape, neighbors, self.cycles, rng)
        return traffic, None if self.traffic_only else cycles_until_all_know(shape, neighbors, rng)


def spatial(
    shape: Shape = "line",
    sites: Sites = "1000",
    exponent: Exponent = "2",
    selection: SelectBy = Selection.DISTANCE,
    uniform_share: UniformShare = 0.0,
    cycles: Cycles = 50,
    traffic_only: TrafficOnly = False,
    runs: Runs = 10,
    seed: Seed = 1,
    jobs: Jobs = None,
    as_json: Json = False,
    output: Output = Format.TABLE,
    plot_file: Plot = None,
) -> None:
    """Spatial gossip: conversations that cross a link a cycle (mean, busiest, middle of a line),
    and cycles until all know.

    Every site starts one conversation a cycle; the update spreads by push-pull anti-entropy with
    the same selection.

    Examples:

    - `kvgossip sim spatial --topology line --sites 1000 --a 2`
    - `kvgossip sim spatial --topology grid --sites 2500 --selection rank --a 1.5`
    - `kvgossip sim spatial --sites 100,1000,10000 --a 0.5,1,1.5,2,3 --traffic-only --plot
      growth.svg`: the paper's five cases
    """
    from kvgossip.sim.papers.topology import topology

    check_plot_option(plot_file)
    settings = [
        (int(n), SpatialPolicy(selection, a, uniform_share))
        for a, n in product(numbers_of(exponent, "--a"), numbers_of(sites, "--sites", whole=True))
    ]
    for number, _ in settings:
        topology(shape, number)
    trials = [
        SpatialTrial(shape, number, policy, cycles, traffic_only, seed, run)
        for number, policy in settings
        for run in range(runs)
    ]
    outcomes = run_trials(trials, jobs, "spatial gossip")
    rows = [
        _row(trials[first], outcomes[first : first + runs]) for first in range(0, len(trials), runs)
    ]
    show(
        rows,
        ["sites", "a", *(name for name in SHOWN if name in rows[0])],
        as_json or output is Format.JSON,
    )
    if plot_file is not None:
        _plot(plot_file, rows)


def _row(trial: SpatialTrial, outcomes: Sequence[tuple[LinkTraffic, int | None]]) -> Row:
    row: Row = {
        "topology": trial.shape,
        "sites": trial.sites,
        "a": trial.policy.exponent,
        "selection": trial.policy.selection.value,
    }
    row |= {
        "uniform_share": trial.policy.uniform_share,
        "cycles": trial.cycles,
        "runs": len(outcomes),
        "seed": trial.seed,
    }
    measured: dict[str, list[float]] = {
        "traffic_per_link_mean": [traffic.mean for traffic, _ in outcomes],
        "traffic_per_link_max": [traffic.max for traffic, _ in outcomes],
        "traffic_middle_link": [
            traffic.middle for traffic, _ in outcomes if traffic.middle is not None
        ],
        "cycles_until_all_know": [taken for _, taken in outcomes if taken is not None],
    }
    return row | {
        key: value
        for name, values in measured.items()
        if values
        for key, value in mean_of(name, values).items()
    }


def _plot(path: Path, rows: Sequence[Row]) -> None:
    """Traffic over n, a curve for each a; on a line dashed beside it the paper's law, fitted at the
    greatest n."""
    from kvgossip.cli.sim.figures import Axis, Curve, plot
    from kvgossip.sim.papers.spread import growth_law

    middle = "traffic_middle_link" in rows[0]
    name = "traffic_middle_link" if middle else "traffic_per_link_mean"
    curves = []
    for a in dict.fromkeys(row["a"] for row in rows):
        chosen = sorted((row["sites"], row[name]) for row in rows if row["a"] == a)
        sites, traffic = [n for n, _ in chosen], [t for _, t in chosen]
        curves.append(Curve(f"a = {a:g}", sites, traffic))
        if (
            middle
            and len(sites) > 1
            and rows[0]["selection"] != "uniform"
            and not rows[0]["uniform_share"]
        ):
            factor = traffic[-1] / growth_law(a, sites[-1])
            curves.append(
                Curve(
                    f"  ~ {_law_name(a)}",
                    sites,
                    [factor * growth_law(a, n) for n in sites],
                    theory=True,
                )
            )
    title = f"Spatial gossip on a {rows[0]['topology']}, selection by {rows[0]['selection']}"
    y = Axis(
        f"conversations a cycle, {'middle link' if middle else 'mean of the links'}",
        logarithmic=True,
    )
    plot(path, title, Axis("sites n", logarithmic=True), y, curves)


def _law_name(a: float) -> str:
    if a < 1:
        return "n"
    if a == 1:
        return "n / log n"
    return f"n^{2 - a:g}" if a < 2 else "log n" if a == 2 else "1"


def register(sim_app: typer.Typer) -> None:
    sim_app.command(rich_help_panel=SYNCHRONOUS, epilog=MEASURED)(spatial)

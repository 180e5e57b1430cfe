"""The command `sim faults`: the cost of failures of nodes and links, over growing clusters, for
variants of the protocol side by side.

The same seed gives every variant the same failures and the same writes, whatever --jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kvgossip.cli.errors import complain
from kvgossip.cli.output import Format, Output, print_json, print_table
from kvgossip.cli.sim.options import (
    CHECKED,
    Jobs,
    Json,
    Plot,
    Seed,
    check_plot_option,
    sizes_of,
)
from kvgossip.cli.sim.rows import Row, mean_of
from kvgossip.cli.sim.trials import run_trials

if TYPE_CHECKING:
    from kvgossip.sim.faults import Intensity
    from kvgossip.sim.report import Report

NODES = (2, 2000)
ZONES = 3
"""The nodes are spread over so many: within one zone all ways to select a peer are the same."""


class Variant(StrEnum):
    PUSH = "push"
    BLIND_COIN = "blind-coin"
    PULL = "pull"
    PUSH_PULL = "push-pull"
    ANTI_ENTROPY = "anti-entropy"
    UNIFORM = "uniform"


PARAMETERS: dict[Variant, dict[str, Any]] = {
    Variant.PUSH: {},
    Variant.BLIND_COIN: {"rumor_feedback": False, "rumor_counter": False},
    Variant.PULL: {"rumor_mode": "pull"},
    Variant.PUSH_PULL: {"rumor_mode": "push-pull"},
    Variant.ANTI_ENTROPY: {"rumor_k": 0},
    Variant.UNIFORM: {"selection": "uniform"},
}
"""The changes of a variant to the default configuration, which is push."""

RATE: dict[str, Any] = {"metavar": "P", "min": 0.0, "max": 1000.0}

Nodes = Annotated[str, typer.Option(metavar="N|N,N", help="How many nodes, one number or several.")]
Variants = Annotated[
    list[Variant] | None,
    typer.Option(
        help="Variant of the protocol; repeat it for several. Default: all.", show_choices=True
    ),
]
CrashRate = Annotated[
    float, typer.Option(help="Crashes a second of each node; it restarts within 20 s.", **RATE)
]
PermanentCrashRate = Annotated[
    float,
    typer.Option(
        help="Silent crashes a second of each node that never comes back; two nodes stay.", **RATE
    ),
]
PartitionRate = Annotated[
    float,
    typer.Option(help="Partitions a second, symmetric and not; they heal within 30 s.", **RATE),
]
CutRate = Annotated[
    float, typer.Option(help="Links cut a second, both ways; they mend within 30 s.", **RATE)
]
PermanentCutRate = Annotated[
    float,
    typer.Option(
        help=(
            "Links cut a second that never mend; a cut that would disconnect the nodes is left out."
        ),
        **RATE,
    ),
]
Loss = Annotated[
    float, typer.Option(metavar="P", min=0.0, max=1.0, help="Share of the datagrams that is lost.")
]
Writes = Annotated[int, typer.Option(min=0, help="Puts and deletes within the duration.")]
Duration = Annotated[
    float,
    typer.Option(metavar="S", min=0.0, max=86_400.0, help="Virtual seconds of faults and writes."),
]
Seeds = Annotated[
    int,
    typer.Option(
        min=1, help="Run so many seeds, from --seed on; printed are means ± standard error."
    ),
]


@dataclass(frozen=True, slots=True)
class FaultsTrial:
    """One run of one variant among so many nodes. All nodes join the first three; should those die,
    others look for the one that restarts."""

    variant: Variant
    nodes: int
    intensity: Intensity
    writes: int
    duration_s: float
    seed: int

    def __call__(self) -> Report:
        from kvgossip.sim.scenario import Joining, Options, scenario
        from kvgossip.sim.simulation import Simulation
        from kvgossip.sim.workload import Mix

        options = Options(
            nodes=(self.nodes, self.nodes),
            intensity=self.intensity,
            duration_s=self.duration_s,
            mix=Mix(writes=self.writes),
            parameters=PARAMETERS[self.variant],
        )
        plan = scenario(self.seed, options)
        plan = replace(
            plan, joining=Joining.SEEDS, addressless=False, staged=True, zones=ZONES, data_only=True
        )
        return Simulation(plan).run()


def faults(
    nodes: Nodes = "5,10,20,40",
    variant: Variants = None,
    crash_rate: CrashRate = 0.01,
    permanent_crash_rate: PermanentCrashRate = 0.002,
    partition_rate: PartitionRate = 0.0,
    cut_rate: CutRate = 0.1,
    permanent_cut_rate: PermanentCutRate = 0.05,
    loss: Loss = 0.01,
    writes: Writes = 100,
    duration: Duration = 20.0,
    runs: Seeds = 3,
    seed: Seed = 1,
    jobs: Jobs = None,
    as_json: Json = False,
    output: Output = Format.TABLE,
    plot_file: Plot = None,
) -> None:
    """Failures of nodes and links, transient and permanent, at these rates: their cost as the
    cluster grows, variant by variant.

    Rates of crashes are of each node, those of partitions and links of the whole cluster. Nodes and
    links fail silently: they stop, and never lie. When the transient faults stop, all nodes that
    still run must come to hold the same data; `agreement_s` is how long that took after the faults.
    (Which nodes each holds alive may differ: two of them may have no link for good.) Gossips
    are packets of rumors; bytes and messages are of everything that is sent, from the first start
    to three seconds after the agreement, a node.

    Examples:

    - `kvgossip sim faults`
    - `kvgossip sim faults --nodes 10,100 --variant push --variant pull --permanent-crash-rate 0.01
      --runs 10 --plot growth.svg`
    """
    from kvgossip.sim.faults import Intensity

    sizes = sizes_of(nodes, NODES)
    check_plot_option(plot_file)
    intensity = Intensity(
        loss=loss, crash_rate=crash_rate, permanent_crash_rate=permanent_crash_rate,
        partition_rate=partition_rate, cut_rate=cut_rate, permanent_cut_rate=permanent_cut_rate,
    )  # fmt: skip
    trials = [
        FaultsTrial(each, n, intensity, writes, duration, seed + run)
        for n, each in product(sizes, dict.fromkeys(variant or Variant))
        for run in range(runs)
    ]
    reports = run_trials(trials, jobs, "faults")
    rows = [
        _row(trials[first], reports[first : first + runs]) for first in range(0, len(trials), runs)
    ]
    _show(rows, as_json or output is Format.JSON)
    if plot_file is not None:
        _plot(plot_file, rows)
    _complain(trials, reports)


def _complain(trials: Sequence[FaultsTrial], reports: Sequence[Report]) -> None:
    """Exits with 1 where a run has failed."""
    failed = [
        (trial, report) for trial, report in zip(trials, reports, strict=True) if not report.passed
    ]
    for trial, report in failed:
        again = (
            f"--nodes {trial.nodes} --variant {trial.variant.value} --seed {trial.seed} --runs 1"
        )
        complain(
            f"{trial.variant.value}, {trial.nodes} nodes: {report.violation}",
            f"repeat it with the same rates and {again}",
        )
    if failed:
        raise typer.Exit(1)


# -- the output ------------------------------------------------------------------------------------


def _row(trial: FaultsTrial, reports: Sequence[Report]) -> Row:
    row: Row = {
        "nodes": trial.nodes,
        "variant": trial.variant.value,
        "runs": len(reports),
        "seed": trial.seed,
    }
    row |= {"passed": sum(report.passed for report in reports), **asdict(trial.intensity)}
    measured: dict[str, list[float]] = {
        "agreement_s": [
            report.agreement_time_s for report in reports if report.agreement_time_s is not None
        ],
        "gossips": [report.gossips for report in reports],
        "exchanges": [report.exchanges for report in reports],
        "bytes_per_node": [report.bytes / report.nodes for report in reports],
        "messages_per_node": [report.messages / report.nodes for report in reports],
        "dead": [report.faults.get("die", 0) for report in reports],
        "links_cut": [report.faults.get("sever", 0) for report in reports],
    }
    for name, values in measured.items():
        row |= mean_of(name, values)
    return row


def _show(rows: Sequence[Row], as_json: bool) -> None:
    if as_json:
        print_json(list(rows))
        return
    measured = (
        "agreement_s",
        "gossips",
        "exchanges",
        "bytes_per_node",
        "messages_per_node",
        "dead",
        "links_cut",
    )
    cells = [
        [
            row["nodes"],
            row["variant"],
            *(_cell(row, name) for name in measured),
            f"{row['passed']}/{row['runs']}",
        ]
        for row in rows
    ]
    print_table(("nodes", "variant", *measured, "agreed"), cells)


def _cell(row: Row, name: str) -> str:
    if row[name] is None:
        return "never"
    value = (
        f"{row[name]:.2f}"
        if name == "agreement_s"
        else f"{row[name]:.1f}"
        if row[name] < 100
        else f"{row[name]:.0f}"
    )
    return f"{value} ±{row[f'{name}_error']:.1g}" if row["runs"] > 1 else value


def _plot(path: Path, rows: Sequence[Row]) -> None:
    from kvgossip.cli.sim.figures import Axis, Curve, plot

    curves = []
    for name in dict.fromkeys(row["variant"] for row in rows):
        chosen = sorted(
            (row["nodes"], row["bytes_per_node"]) for row in rows if row["variant"] == name
        )
        curves.append(Curve(name, [n for n, _ in chosen], [sent for _, sent in chosen]))
    title = f"Under failures of nodes and links, {rows[0]['runs']} runs each"
    plot(
        path,
        title,
        Axis("nodes n", logarithmic=True),
        Axis("bytes sent a node", logarithmic=True),
        curves,
    )


def register(sim_app: typer.Typer) -> None:
    sim_app.command(epilog=CHECKED)(faults)

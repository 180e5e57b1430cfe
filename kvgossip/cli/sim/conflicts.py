"""The command `sim conflicts`: the acknowledged writes that a partition costs, under
last-writer-wins and with types."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvgossip.cli.errors import CommandError, complain
from kvgossip.cli.output import Format, Output, print_json, print_table
from kvgossip.cli.sim.options import (
    CHECKED,
    Jobs,
    Json,
    Plot,
    Seed,
    check_plot_option,
    numbers_of,
)
from kvgossip.cli.sim.rows import Row, mean_of
from kvgossip.cli.sim.trials import run_trials

if TYPE_CHECKING:
    from kvgossip.sim.papers.lost_writes import PartitionOutcome, PartitionPlan

PARTITION_S_MAX = 3600.0
LABELS = {
    "lww_sum": "a number, last writer wins",
    "lww_set": "lines, last writer wins",
    "counter": "counter",
    "set": "set",
    "siblings": "siblings",
}

PartitionS = Annotated[
    str,
    typer.Option(
        "--partition-s", metavar="S|S,S", help="Virtual seconds of the cut, one number or several."
    ),
]
Rate = Annotated[
    float, typer.Option(min=0.1, max=1000.0, help="Actions of clients a second, on each side.")
]
Nodes = Annotated[int, typer.Option(min=2, max=200, help="How many nodes; half on each side.")]
Keys = Annotated[int, typer.Option(min=1, max=1000, help="Keys that both sides write, each way.")]
Seeds = Annotated[
    int,
    typer.Option(
        min=1, help="Run so many seeds, from --seed on; printed are means ± standard error."
    ),
]


def conflicts(
    partition_s: PartitionS = "0,1,10,60",
    rate: Rate = 10.0,
    nodes: Nodes = 4,
    keys: Keys = 10,
    runs: Seeds = 5,
    seed: Seed = 1,
    jobs: Jobs = None,
    as_json: Json = False,
    output: Output = Format.TABLE,
    plot_file: Plot = None,
) -> None:
    """Lost writes by the length of a partition: acknowledged writes that are nowhere at the end,
    where the last writer wins, beside those of counters, sets and siblings.

    The cluster is cut into halves for `cut_s`. Five seconds before, meanwhile, and half a minute
    after, clients write on both sides to the same keys, each action five ways: `lww_sum` reads a
    number and writes it with one more, `lww_set` reads lines and writes them with its own;
    `counter` and `set` add; `siblings` writes the lines of all siblings with its own, and with
    their context. `writes` are those of each way that were acknowledged, `apart` those of them
    during the cut; the other columns count those that are lost when all nodes agree, whichever node
    is asked.

    Examples:

    - `kvgossip sim conflicts`
    - `kvgossip sim conflicts --partition-s 1,10,60 --rate 10 --plot lost.svg`
    - `kvgossip sim conflicts --partition-s 0 --keys 1 --rate 100`: what is lost without a cut
    """
    from kvgossip.sim.papers.lost_writes import PartitionPlan

    check_plot_option(plot_file)
    lengths = numbers_of(partition_s, "--partition-s")
    if max(lengths) > PARTITION_S_MAX:
        raise CommandError(
            f"--partition-s {partition_s} is out of bounds", f"choose 0 to {PARTITION_S_MAX:g}"
        )
    plans = [
        PartitionPlan(partition_s=length, rate=rate, nodes=nodes, keys=keys, seed=seed + run)
        for length in dict.fromkeys(lengths)
        for run in range(runs)
    ]
    outcomes = run_trials([partial(partition_trial, plan) for plan in plans], jobs, "partitions")
    rows = [
        _row(plans[first], runs, outcomes[first : first + runs])
        for first in range(0, len(plans), runs)
    ]
    _show(rows, as_json or output is Format.JSON)
    if plot_file is not None:
        _plot(plot_file, rows)
    _complain(plans, outcomes)


def partition_trial(plan: PartitionPlan) -> PartitionOutcome | str:
    """One run; in words, the law that did not hold in it."""
    from kvgossip.sim.checks.violation import BrokenLawError
    from kvgossip.sim.papers.lost_writes import measure_partition

    try:
        return measure_partition(plan)
    except BrokenLawError as broken:
        return str(broken)


def _row(plan: PartitionPlan, runs: int, outcomes: Sequence[PartitionOutcome | str]) -> Row:
    found = [outcome for outcome in outcomes if not isinstance(outcome, str)]
    row: Row = {"partition_s": plan.partition_s, "rate": plan.rate, "nodes": plan.nodes}
    row |= {"keys": plan.keys, "runs": runs, "seed": plan.seed, "passed": len(found)}
    row |= mean_of("writes", [outcome.acknowledged["counter"] for outcome in found])
    row |= mean_of("apart", [outcome.apart for outcome in found])
    for way in LABELS:
        row |= mean_of(way, [outcome.lost[way] for outcome in found])
    return row | mean_of("conflicts_seen", [outcome.conflicts for outcome in found])


def _show(rows: Sequence[Row], as_json: bool) -> None:
    if as_json:
        print_json(rows[0] if len(rows) == 1 else list(rows))
        return
    columns = ("writes", "apart", *LABELS)
    cells = [
        (f"{row['partition_s']:g}", *(_cell(row, column) for column in columns)) for row in rows
    ]
    print_table(("cut_s", *columns), cells)


def _cell(row: Row, name: str) -> str:
    if row[name] is None:
        return ""
    if not row[f"{name}_error"]:
        return f"{row[name]:g}"
    digits = 1 if row[name] < 10 else 0
    return f"{row[name]:.{digits}f} ±{row[f'{name}_error']:.{digits}f}"


def _plot(path: Path, rows: Sequence[Row]) -> None:
    from kvgossip.cli.sim.figures import Axis, Curve, plot

    curves = [
        Curve(label, [row["partition_s"] for row in rows], [row[way] for row in rows])
        for way, label in LABELS.items()
    ]
    title = f"{rows[0]['nodes']} nodes in halves, {rows[0]['rate']:g} writes a second on each side"
    plot(path, title, Axis("seconds of the partition"), Axis("acknowledged writes lost"), curves)


def _complain(plans: Sequence[PartitionPlan], outcomes: Sequence[PartitionOutcome | str]) -> None:
    """Exits with 1 where a law did not hold, or a type has lost a write or counted one twice."""
    failed = False
    for plan, outcome in zip(plans, outcomes, strict=True):
        why = outcome if isinstance(outcome, str) else outcome.broken_promise
        if why:
            failed = True
            again = f"--partition-s {plan.partition_s:g} --seed {plan.seed} --runs 1"
            complain(why, f"repeat it with the same options and {again}")
    if failed:
        raise typer.Exit(1)


def register(sim_app: typer.Typer) -> None:
    sim_app.command(epilog=CHECKED)(conflicts)

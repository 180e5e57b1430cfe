"""The command `sim residue`: the share of the nodes that rumors alone do not reach."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from kvgossip.cli.output import Format, Output, print_json, print_table
from kvgossip.cli.sim.options import MEASURED, Jobs, Json, RunSeed, range_of
from kvgossip.cli.sim.trials import run_trials

if TYPE_CHECKING:
    from kvgossip.sim.papers.residue import Residue


def residue(
    k: Annotated[
        str, typer.Option("--k", metavar="K|A-B", help="Unnecessary contacts until a rumor cools.")
    ] = "1-3",
    nodes: Annotated[int, typer.Option(min=2, max=2000, help="How many nodes.")] = 150,
    writes: Annotated[int, typer.Option(min=2, help="Independent writes to average over.")] = 200,
    seed: RunSeed = 1,
    jobs: Jobs = None,
    as_json: Json = False,
    output: Output = Format.TABLE,
) -> None:
    """Measure the residue that rumors alone leave, beside Table 1 of Demers et al. 1987:
    anti-entropy off, fan-out 1, no loss.

    Examples:

    - `kvgossip sim residue`
    - `kvgossip sim residue --k 2 --nodes 500 --writes 100 --json`
    """
    low, high = range_of(k, "--k", 1, 64)
    trials = [partial(_measure, each, nodes, writes, seed) for each in range(low, high + 1)]
    found = run_trials(trials, jobs, "simulating")
    if as_json or output is Format.JSON:
        print_json([asdict(each) for each in found])
        return
    columns = ("K", "residue", "± (standard error)", "paper", "traffic", "paper", "nodes", "writes")
    rows = (
        (
            e.k,
            f"{e.residue:.4f}",
            f"{e.standard_error:.4f}",
            e.paper_residue,
            f"{e.traffic:.2f}",
            e.paper_traffic,
            e.nodes,
            e.writes,
        )
        for e in found
    )
    print_table(columns, rows)


def _measure(k: int, nodes: int, writes: int, seed: int) -> Residue:
    from kvgossip.sim.papers.residue import measure_residue

    return measure_residue(k=k, nodes=nodes, writes=writes, seed=seed)


def register(sim_app: typer.Typer) -> None:
    sim_app.command(epilog=MEASURED)(residue)

"""The commands of the simulator, `kvgossip sim ...`: one file a command, under its own name.

    cluster      clusters under faults, checked at every step
    deletes      deletes, with hosts that come back after any absence
    edits        counters, sets and siblings, edited where deletes are under trial
    conflicts    acknowledged writes that a partition costs, with types and without
    residue      the share of the nodes that rumors alone do not reach
    faults       the cost of failures, for variants of the protocol
    membership   detection and false positives, beside SWIM and Lifeguard
    rumor        rumor mongering in synchronous cycles
    antientropy  anti-entropy in synchronous cycles
    spatial      peer selection by distance
    options      options that several of them share, and how their text is read
    trials       many runs, over several processes
    reports      the reports of many seeds
    rows         tables of means and their errors
    figures      curves into a file, for --plot

Imports that take long happen when a command runs.
"""

from __future__ import annotations

import typer

from kvgossip.cli.sim import (
    antientropy,
    cluster,
    conflicts,
    deletes,
    edits,
    faults,
    membership,
    residue,
    rumor,
    spatial,
)

sim_app = typer.Typer(
    name="sim",
    no_args_is_help=True,
    help="Run the protocol that ships in virtual time: thousands of hours, one seed.",
)
for command in (
    *(cluster, deletes, edits, conflicts),
    *(residue, rumor, antientropy, spatial, faults, membership),
):
    command.register(sim_app)


def register(app: typer.Typer) -> None:
    app.add_typer(sim_app, rich_help_panel="Simulator")

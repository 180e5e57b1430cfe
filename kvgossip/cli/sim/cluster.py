"""The command `sim cluster`: real replicas under faults. One seed is one run; a failing seed is
printed with the command that repeats it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kvgossip.cli.errors import CommandError
from kvgossip.cli.output import Format, Output
from kvgossip.cli.sim.options import CHECKED, Jobs, Json, RunSeed, Trace, parameters_of, range_of
from kvgossip.cli.sim.reports import conclude
from kvgossip.cli.sim.trials import run_trials

if TYPE_CHECKING:
    from kvgossip.sim.faults import Intensity
    from kvgossip.sim.report import Report
    from kvgossip.sim.scenario import Options

FAULTS = (
    "loss", "duplicate", "crash_rate", "leave_rate", "partition_rate", "datacenter_rate",
    "pause_rate", "garbage_rate", "stranger_rate", "hostile_rate", "glitch_rate", "clock_skew_ms",
    "clock_drift",
)  # fmt: skip
"""The options that are fields of Intensity."""

Nodes = Annotated[
    str,
    typer.Option(metavar="N|A-B", help="How many nodes, or a range from which each seed picks."),
]
Datacenters = Annotated[
    str | None,
    typer.Option(
        metavar="N|A-B",
        help="How many datacenters. Default: 1, but of swarms one in four has 2 or 3.",
    ),
]
Seeds = Annotated[int, typer.Option(min=1, help="Run so many seeds, from --seed on.")]
Duration = Annotated[
    float, typer.Option(metavar="S", min=0.0, help="Virtual seconds of faults and writes.")
]
Writes = Annotated[int, typer.Option(min=0, help="Puts and deletes within that time.")]
Loss = Annotated[
    float | None, typer.Option(metavar="P", min=0.0, help="Share of the datagrams that is lost.")
]
Duplicate = Annotated[
    float | None,
    typer.Option(metavar="P", min=0.0, help="Share of the datagrams that arrives twice."),
]
CrashRate = Annotated[
    float | None,
    typer.Option(
        metavar="P", min=0.0, help="Crashes a second of each node; it restarts within 20 s."
    ),
]
LeaveRate = Annotated[
    float | None,
    typer.Option(metavar="P", min=0.0, help="Graceful departures a second of each node."),
]
PartitionRate = Annotated[
    float | None,
    typer.Option(
        metavar="P", min=0.0, help="Partitions a second, symmetric and not; they heal within 30 s."
    ),
]
DatacenterRate = Annotated[
    float | None,
    typer.Option(
        metavar="P",
        min=0.0,
        help="Datacenters a second that are cut off, or lose all their gateways.",
    ),
]
PauseRate = Annotated[
    float | None,
    typer.Option(metavar="P", min=0.0, help="Pauses a second of each node, up to 20 s long."),
]
GarbageRate = Annotated[
    float | None, typer.Option(metavar="P", min=0.0, help="Packets of noise a second.")
]
StrangerRate = Annotated[
    float | None,
    typer.Option(
        metavar="P",
        min=0.0,
        help="False messages a second of one that has the key, and is no member.",
    ),
]
HostileRate = Annotated[
    float | None,
    typer.Option(
        metavar="P",
        min=0.0,
        help="False messages a second of a member; it twists what it says otherwise, too.",
    ),
]
GlitchRate = Annotated[
    float | None,
    typer.Option(
        metavar="P",
        min=0.0,
        help="Clocks a second of each node, or of all, that are up to a minute off for a while.",
    ),
]
ClockSkew = Annotated[
    float | None, typer.Option(metavar="MS", help="Each wall clock is up to that far off.")
]
ClockDrift = Annotated[
    float | None,
    typer.Option(metavar="P", min=0.0, help="Each clock is up to that share too fast or slow."),
]
Batches = Annotated[
    float | None,
    typer.Option(
        metavar="P",
        min=0.0,
        max=1.0,
        help=(
            "Share of the writes at once that are one batch. Default: a half of one swarm in three."
        ),
    ),
]
RideRate = Annotated[
    float | None,
    typer.Option(
        metavar="P",
        min=0.0,
        help="Messages a second of each node's application, on which news rides where frames are "
        "sealed. Default: 2 in every other sealed swarm.",
    ),
]
Sealed = Annotated[
    bool | None,
    typer.Option(
        "--sealed/--unsealed", help="Frames of all runs, or of none. Default: of one swarm in four."
    ),
]
NoRumors = Annotated[
    bool, typer.Option("--no-rumors", help="Anti-entropy alone: must agree all the same.")
]
NoAntiEntropy = Annotated[
    bool,
    typer.Option("--no-anti-entropy", help="Rumors alone: leave a residue, so exit 1 is expected."),
]
RumorK = Annotated[int | None, typer.Option(help="Unnecessary contacts until a rumor cools.")]
Fanout = Annotated[
    int | None, typer.Option(help="Peers that a node contacts a round, and at once.")
]
Parameter = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Any other parameter of the configuration."),
]


def cluster(
    context: typer.Context,
    nodes: Nodes = "5-20",
    datacenters: Datacenters = None,
    seed: RunSeed = 1,
    runs: Seeds = 1,
    jobs: Jobs = None,
    duration: Duration = 20.0,
    writes: Writes = 200,
    loss: Loss = None,
    duplicate: Duplicate = None,
    crash_rate: CrashRate = None,
    leave_rate: LeaveRate = None,
    partition_rate: PartitionRate = None,
    datacenter_rate: DatacenterRate = None,
    pause_rate: PauseRate = None,
    garbage_rate: GarbageRate = None,
    stranger_rate: StrangerRate = None,
    hostile_rate: HostileRate = None,
    glitch_rate: GlitchRate = None,
    clock_skew_ms: ClockSkew = None,
    clock_drift: ClockDrift = None,
    batches: Batches = None,
    ride_rate: RideRate = None,
    sealed: Sealed = None,
    no_rumors: NoRumors = False,
    no_anti_entropy: NoAntiEntropy = False,
    rumor_k: RumorK = None,
    fanout: Fanout = None,
    parameter: Parameter = None,
    trace: Trace = 0,
    as_json: Json = False,
    output: Output = Format.TABLE,
) -> None:
    """Run clusters under faults and check them at every step; when the faults stop, all must agree.

    Give no fault and the seed picks which happen, and how often (a swarm). Give any, and only those
    happen.

    Examples:

    - `kvgossip sim cluster --runs 1000`: a thousand swarms of 5 to 20 nodes
    - `kvgossip sim cluster --nodes 10 --seed 7 --loss 0.2 --crash-rate 0.01 --json`
    - `kvgossip sim cluster --nodes 12 --datacenters 3 --datacenter-rate 0.2`: cuts between
      datacenters, and crashes of their gateways
    - `kvgossip sim cluster --nodes 50 --loss 0 --no-rumors`: anti-entropy repairs everything alone
    - `kvgossip sim cluster --seed 7 --trace 100`: what happened last in this run
    """
    options = _options(context.params)
    trials = [partial(_simulate, number, options, trace) for number in range(seed, seed + runs)]
    reports = run_trials(trials, jobs, "simulating")
    conclude(reports, as_json or output is Format.JSON, context, "cluster")


def _options(given: Mapping[str, Any]) -> Options:
    """By the names of the parameters of `cluster`. Raises CommandError, or ConfigError."""
    from kvgossip.sim.scenario import Options, scenario
    from kvgossip.sim.workload import Mix

    datacenters = given["datacenters"]
    options = Options(
        nodes=range_of(given["nodes"], "--nodes", 1, 2000),
        intensity=_intensity(given),
        duration_s=given["duration"],
        mix=Mix(writes=given["writes"]),
        parameters=_parameters(given),
        datacenters=None if datacenters is None else range_of(datacenters, "--datacenters", 1, 16),
        sealed=given["sealed"],
        batch_share=given["batches"],
        ride_rate=given["ride_rate"],
    )
    scenario(0, options)  # a wrong parameter is an error before the first run
    return options


def _intensity(given: Mapping[str, Any]) -> Intensity | None:
    """None where no fault was given: a swarm."""
    from kvgossip.sim.faults import Intensity

    faults = {name: given[name] for name in FAULTS if given[name] is not None}
    for name, value in faults.items():
        if value < 0 or not math.isfinite(value) or (name in ("loss", "duplicate") and value > 1):
            raise CommandError(
                f"--{name.replace('_', '-')} {value} is out of bounds",
                "a share is 0 to 1, a rate is at least 0",
            )
    return Intensity(**faults) if faults else None


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    parameters = parameters_of(given["parameter"] or [])
    if given["rumor_k"] is not None:
        parameters["rumor_k"] = given["rumor_k"]
    if given["fanout"] is not None:
        parameters["gossip_fanout"] = parameters["direct_fanout"] = given["fanout"]
    if given["no_rumors"]:
        parameters["rumor_k"] = 0
    if given["no_anti_entropy"]:
        parameters["anti_entropy"] = False
    return parameters


def _simulate(seed: int, options: Options, trace_length: int) -> Report:
    from kvgossip.sim.simulation import simulate

    return simulate(seed, options, trace_length)


def register(sim_app: typer.Typer) -> None:
    sim_app.command(epilog=CHECKED)(cluster)

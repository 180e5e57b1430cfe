"""The commands of the simulator: sim cluster, sim residue, and those of epidemics.py, faults.py and
membership.py.

One seed is one run; a failing seed is printed with how to repeat it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from kvgossip.cli.errors import CommandError, complain
from kvgossip.cli.output import Format, Output, print_json, print_table
from kvgossip.cli.sim import epidemics, faults, membership
from kvgossip.cli.sim.experiment import parameters_of

if TYPE_CHECKING:
    from kvgossip.sim.report import Report
    from kvgossip.sim.scenario import Options

Result = TypeVar("Result")

EXIT_CODES = (
    "Exit code: 0 every check held and all agreed; 1 not so, and the failing seed is "
    "printed; 2 wrong usage."
)
_NOT_REPEATED = ("seed", "runs", "jobs", "as_json", "output", "trace")
_TRACE_REPEATED = 200

sim_app = typer.Typer(
    name="sim",
    no_args_is_help=True,
    help="Run the protocol that ships in virtual time: thousands of hours, one seed.",
)

Json = Annotated[bool, typer.Option("--json", help="JSON instead of a table; as -o json.")]
Sealed = Annotated[
    bool | None,
    typer.Option(
        "--sealed/--unsealed", help="Whether frames are. Default: those of one swarm in four."
    ),
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
NoAntiEntropy = Annotated[
    bool,
    typer.Option("--no-anti-entropy", help="Rumors alone: leave a residue, so exit 1 is expected."),
]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Processes to share the runs. Default: one a processor.")
]


@sim_app.command(epilog=EXIT_CODES)
def cluster(
    context: typer.Context,
    nodes: Annotated[
        str,
        typer.Option(
            metavar="N|A-B", help="How many nodes, or a range from which each seed picks."
        ),
    ] = "5-20",
    datacenters: Annotated[
        str | None,
        typer.Option(
            metavar="N|A-B",
            help="How many datacenters. Default: 1, but of swarms one in four has 2 or 3.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides everything that is random.")] = 1,
    runs: Annotated[int, typer.Option(min=1, help="Run so many seeds, from --seed on.")] = 1,
    jobs: Jobs = None,
    duration: Annotated[
        float, typer.Option(metavar="S", min=0.0, help="Virtual seconds of faults and writes.")
    ] = 20.0,
    writes: Annotated[int, typer.Option(min=0, help="Puts and deletes within that time.")] = 200,
    loss: Annotated[
        float | None,
        typer.Option(metavar="P", min=0.0, help="Share of the datagrams that is lost."),
    ] = None,
    duplicate: Annotated[
        float | None,
        typer.Option(metavar="P", min=0.0, help="Share of the datagrams that arrives twice."),
    ] = None,
    crash_rate: Annotated[
        float | None,
        typer.Option(
            metavar="P", min=0.0, help="Crashes a second of each node; it restarts within 20 s."
        ),
    ] = None,
    leave_rate: Annotated[
        float | None,
        typer.Option(metavar="P", min=0.0, help="Graceful departures a second of each node."),
    ] = None,
    partition_rate: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            min=0.0,
            help="Partitions a second, symmetric and not; they heal within 30 s.",
        ),
    ] = None,
    datacenter_rate: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            min=0.0,
            help="Datacenters a second that are cut off, or lose all their gateways.",
        ),
    ] = None,
    pause_rate: Annotated[
        float | None,
        typer.Option(metavar="P", min=0.0, help="Pauses a second of each node, up to 20 s long."),
    ] = None,
    garbage_rate: Annotated[
        float | None, typer.Option(metavar="P", min=0.0, help="Packets of noise a second.")
    ] = None,
    clock_skew_ms: Annotated[
        float | None, typer.Option(metavar="MS", help="Each wall clock is up to that far off.")
    ] = None,
    clock_drift: Annotated[
        float | None,
        typer.Option(metavar="P", min=0.0, help="Each clock is up to that share too fast or slow."),
    ] = None,
    batches: Batches = None,
    sealed: Sealed = None,
    no_rumors: Annotated[
        bool, typer.Option("--no-rumors", help="Anti-entropy alone: must agree all the same.")
    ] = False,
    no_anti_entropy: NoAntiEntropy = False,
    rumor_k: Annotated[
        int | None, typer.Option(help="Unnecessary contacts until a rumor cools.")
    ] = None,
    fanout: Annotated[
        int | None, typer.Option(help="Peers that a node tells a round, and at once.")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Any other parameter of the configuration."),
    ] = None,
    trace: Annotated[
        int, typer.Option(metavar="N", min=0, help="Show the last N events of a run.")
    ] = 0,
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
    faults = {
        "loss": loss, "duplicate": duplicate, "crash_rate": crash_rate, "leave_rate": leave_rate,
        "partition_rate": partition_rate,
        "datacenter_rate": datacenter_rate, "pause_rate": pause_rate, "garbage_rate": garbage_rate,
        "clock_skew_ms": clock_skew_ms,
        "clock_drift": clock_drift,
    }  # fmt: skip
    parameters = _parameters(parameter or [], no_rumors, no_anti_entropy, rumor_k, fanout)
    given = {name: value for name, value in faults.items() if value is not None}
    options = replace(
        _options(nodes, datacenters, duration, writes, given, parameters, sealed),
        batch_share=batches,
    )
    seeds = range(seed, seed + runs)
    reports = list(_spread(partial(_simulate, options=options, trace_length=trace), seeds, jobs))
    _tell(reports, as_json or output is Format.JSON)
    failed = [report for report in reports if not report.passed]
    for report in failed:
        _complain(report, context)
    if failed:
        raise typer.Exit(1)


@sim_app.command(epilog=EXIT_CODES)
def deletes(
    context: typer.Context,
    seed: Annotated[
        int, typer.Option(help="The first seed; each decides everything about its run.")
    ] = 1,
    runs: Annotated[int, typer.Option(min=1, help="How many seeds, one after the other.")] = 1,
    jobs: Jobs = None,
    trace: Annotated[
        int, typer.Option(metavar="N", min=0, help="Show the last N events of a run.")
    ] = 0,
    as_json: Json = False,
    output: Output = Format.TABLE,
) -> None:
    """Try deletes: hosts with disks that return after any absence, also when they were forgotten;
    expiries; one to three datacenters.

    No deleted value may live again, no acknowledged write may be lost. At the end all tombstones
    must go, and it must be quiet.

    Examples:

    - `kvgossip sim deletes --runs 100`
    - `kvgossip sim deletes --seed 7 --trace 200`: what happened last in this run
    """
    reports = list(
        _spread(partial(_simulate_deletes, trace_length=trace), range(seed, seed + runs), jobs)
    )
    _tell(reports, as_json or output is Format.JSON)
    failed = [report for report in reports if not report.passed]
    for report in failed:
        _complain(report, context, "deletes")
    if failed:
        raise typer.Exit(1)


@sim_app.command(epilog="Exit code: 0 measured; 2 wrong usage.")
def residue(
    k: Annotated[
        str, typer.Option("--k", metavar="K|A-B", help="Unnecessary contacts until a rumor cools.")
    ] = "1-3",
    nodes: Annotated[int, typer.Option(min=2, max=2000, help="How many nodes.")] = 150,
    writes: Annotated[int, typer.Option(min=2, help="Independent writes to average over.")] = 200,
    seed: Annotated[int, typer.Option(help="Decides everything that is random.")] = 1,
    jobs: Jobs = None,
    as_json: Json = False,
    output: Output = Format.TABLE,
) -> None:
    """Measure what rumors alone leave behind, beside Table 1 of Demers et al. 1987: anti-entropy
    off, fan-out 1, no loss.

    Examples:

    - `kvgossip sim residue`
    - `kvgossip sim residue --k 2 --nodes 500 --writes 100 --json`
    """
    low, high = _range(k, "--k", 1, 64)
    found = list(
        _spread(
            partial(_measure, nodes=nodes, writes=writes, seed=seed), range(low, high + 1), jobs
        )
    )
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


# -- what the options mean -----------------------------------------------------------------------


def _range(text: str, option: str, low: int, high: int) -> tuple[int, int]:
    parts = text.split("-")
    if not all(part.isdecimal() for part in parts) or len(parts) > 2:
        raise CommandError(
            f"{option} {text} is neither a number nor a range", f"write {option} 5 or {option} 5-20"
        )
    first, last = int(parts[0]), int(parts[-1])
    if not low <= first <= last <= high:
        raise CommandError(
            f"{option} {text} is out of bounds", f"choose {low} to {high}, the smaller number first"
        )
    return first, last


def _parameters(
    texts: list[str],
    no_rumors: bool,
    no_anti_entropy: bool,
    rumor_k: int | None,
    fanout: int | None,
) -> dict[str, Any]:
    parameters = parameters_of(texts)
    if rumor_k is not None:
        parameters["rumor_k"] = rumor_k
    if fanout is not None:
        parameters["gossip_fanout"] = parameters["direct_fanout"] = fanout
    if no_rumors:
        parameters["rumor_k"] = 0
    if no_anti_entropy:
        parameters["anti_entropy"] = False
    return parameters


def _options(
    nodes: str,
    datacenters: str | None,
    duration_s: float,
    writes: int,
    faults: dict[str, float],
    parameters: dict[str, Any],
    sealed: bool | None,
) -> Options:
    from kvgossip.sim.faults import Intensity
    from kvgossip.sim.scenario import Options, scenario
    from kvgossip.sim.workload import Mix

    for name, value in faults.items():
        if value < 0 or not math.isfinite(value) or (name in ("loss", "duplicate") and value > 1):
            raise CommandError(
                f"--{name.replace('_', '-')} {value} is out of bounds",
                "a share is 0 to 1, a rate is at least 0",
            )
    options = Options(
        nodes=_range(nodes, "--nodes", 1, 2000),
        intensity=Intensity(**faults) if faults else None,
        duration_s=duration_s,
        mix=Mix(writes=writes),
        parameters=parameters,
        datacenters=None if datacenters is None else _range(datacenters, "--datacenters", 1, 16),
        sealed=sealed,
    )
    scenario(0, options)  # a wrong parameter is told before the first run
    return options


# -- running -------------------------------------------------------------------------------------


def _simulate(seed: int, options: Options, trace_length: int) -> Report:
    from kvgossip.sim.simulation import simulate

    return simulate(seed, options, trace_length)


def _simulate_deletes(seed: int, trace_length: int) -> Report:
    from kvgossip.sim.deletion import deletion_options
    from kvgossip.sim.simulation import simulate

    return simulate(seed, deletion_options(seed), trace_length)


def _measure(k: int, nodes: int, writes: int, seed: int) -> Any:
    from kvgossip.sim.papers.residue import measure_residue

    return measure_residue(k=k, nodes=nodes, writes=writes, seed=seed)


def _spread(run: Callable[[int], Result], numbers: range, jobs: int | None) -> Iterator[Result]:
    """The results in the order of the numbers, from as many processes as there are jobs; a bar on
    stderr meanwhile."""
    workers = min(jobs or os.cpu_count() or 1, len(numbers))
    if workers == 1:
        yield from _with_bar(map(run, numbers), len(numbers))
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from _with_bar(pool.map(run, numbers), len(numbers))


def _with_bar(results: Iterable[Result], total: int) -> Iterator[Result]:
    if total == 1:
        yield from results
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(results, "simulating", total, console=Console(stderr=True), transient=True)


# -- telling -------------------------------------------------------------------------------------


def _tell(reports: list[Report], as_json: bool) -> None:
    if len(reports) == 1:
        document = reports[0].as_json()
    else:
        document = _summary(reports)
        if as_json:
            document["runs"] = [report.as_json() for report in reports]
    if as_json:
        print_json(document)
        return
    lines = document.pop("trace", [])
    print_table(("", ""), ((name, _cell(value)) for name, value in document.items()))
    for line in lines:
        print(line)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(count)}" for name, count in value.items()) or "none"
    return f"{value:.3f}" if isinstance(value, float) else "none" if value is None else str(value)


def _summary(reports: list[Report]) -> dict[str, Any]:
    """Of many runs: sums, and for times the worst."""
    from xxhash import xxh3_128_hexdigest

    agreed = sorted(
        report.agreement_time_s for report in reports if report.agreement_time_s is not None
    )
    return {
        "seeds": f"{reports[0].seed}-{reports[-1].seed}",
        "passed": sum(report.passed for report in reports),
        "failed": [report.seed for report in reports if not report.passed],
        "converged": all(report.converged for report in reports),
        "trace_hash": xxh3_128_hexdigest("".join(report.trace_hash for report in reports).encode()),
        "agreement_time_s": agreed[-1] if agreed else None,
        "agreement_time_s_p50": agreed[len(agreed) // 2] if agreed else None,
        "agreement_time_s_p99": agreed[len(agreed) * 99 // 100] if agreed else None,
        "agreement_limit_s": max(report.agreement_limit_s for report in reports),
        **{
            name: sum(getattr(report, name) for report in reports)
            for name in (
                "events",
                "messages",
                "bytes",
                "writes",
                "deletes",
                "starts",
                "virtual_time_s",
            )
        },
        "faults": _total(report.faults for report in reports),
    }


def _total(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            total[name] = total.get(name, 0) + count
    return total


def _complain(report: Report, context: typer.Context, command: str = "cluster") -> None:
    why = (
        str(report.violation)
        if report.violation
        else f"seed {report.seed}: no agreement; residue {report.residue:.4f}"
    )
    repeat = [
        f"kvgossip sim {command}",
        f"--seed {report.seed}",
        *_given(context),
        f"--trace {_TRACE_REPEATED}",
    ]
    complain(why, f"repeat it with: {' '.join(repeat)}")


def _given(context: typer.Context) -> Iterator[str]:
    """What was said on the command line, but for what chooses the seeds and the form of the
    output."""
    for option in context.command.params:
        name, value = option.name or "", context.params.get(option.name or "")
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE" or name in _NOT_REPEATED:
            continue
        for each in value if isinstance(value, (list, tuple)) else [value]:
            if each is False:
                yield option.secondary_opts[0]
            else:
                yield option.opts[0] if each is True else f"{option.opts[0]} {each}"


def register(app: typer.Typer) -> None:
    epidemics.register(sim_app)
    faults.register(sim_app)
    membership.register(sim_app)
    app.add_typer(sim_app, rich_help_panel="Simulator")

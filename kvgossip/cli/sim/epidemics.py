"""The commands that measure epidemics in synchronous cycles: sim rumor, sim antientropy, sim
spatial (Demers et al. 1987).

Every run has a random generator of its own, from the seed and the run's number: the same command
prints the same numbers, whatever --jobs.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product, zip_longest
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kvgossip.cli.errors import CommandError
from kvgossip.cli.output import Format, Output, print_json, print_table
from kvgossip.cli.sim.trials import run_trials
from kvgossip.protocol.membership.spatial import Selection, SpatialPolicy
from kvgossip.protocol.rumors.policy import Mode, RumorPolicy

if TYPE_CHECKING:
    from kvgossip.sim.papers.epidemic import AntiEntropyOutcome, RumorOutcome
    from kvgossip.sim.papers.spread import LinkTraffic

Row = dict[str, Any]

Runs = Annotated[
    int,
    typer.Option(
        min=1, help="How often to repeat each experiment; printed are means ± standard error."
    ),
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same numbers.")]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Processes to share the runs. Default: one a processor.")
]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of a table; as -o json.")]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE.png|.svg", help="Draw it, too. Needs the extra [sim]."),
]
Talk = Annotated[Mode, typer.Option(help="Who tells whom in a contact.", show_choices=True)]


def rumor(
    sites: Annotated[int, typer.Option(min=2, help="How many sites.")] = 1000,
    k: Annotated[
        str,
        typer.Option(
            "--k",
            metavar="K|K-K|K,K",
            help="Contacts (or chance 1/k) until interest is lost, one or several.",
        ),
    ] = "3",
    mode: Talk = Mode.PUSH,
    feedback: Annotated[
        bool,
        typer.Option(
            "--feedback/--blind", help="Whether only contacts that knew the rumor count, or all."
        ),
    ] = True,
    counter: Annotated[
        bool,
        typer.Option(
            "--counter/--coin",
            help="Lose interest after k contacts that count, or with 1/k at each.",
        ),
    ] = True,
    connection_limit: Annotated[
        int, typer.Option(min=0, help="Conversations a site accepts a cycle; 0: any number.")
    ] = 0,
    hunt: Annotated[int, typer.Option(min=0, help="How many others a refused site tries.")] = 0,
    minimization: Annotated[
        bool,
        typer.Option(
            "--minimization", help="push-pull: only the smaller counter counts a contact."
        ),
    ] = False,
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
    _check_plot(plot_file)
    ks = [int(number) for number in _numbers(k, "--k", whole=True)]
    policies = [
        RumorPolicy(number, mode, feedback, counter, connection_limit, hunt, minimization)
        for number in ks
    ]
    trials = [
        partial(rumor_trial, sites, policy, seed, run) for policy in policies for run in range(runs)
    ]
    outcomes = run_trials(trials, jobs, "rumors")
    rows = [
        _rumor_row(sites, policy, seed, outcomes[place * runs : (place + 1) * runs])
        for place, policy in enumerate(policies)
    ]
    columns = [
        "k",
        "residue",
        "traffic",
        "t_average",
        "t_last",
        *(["refused"] if connection_limit else []),
    ]
    _show(rows, columns, as_json or output is Format.JSON)
    if plot_file is not None:
        _plot_rumor(plot_file, rows)


def rumor_trial(sites: int, policy: RumorPolicy, seed: int, run: int) -> RumorOutcome:
    from kvgossip.sim.papers.epidemic import spread_rumor

    return spread_rumor(sites, policy, Random(f"{seed} rumor {policy.k} {run}"))


def _rumor_row(sites: int, policy: RumorPolicy, seed: int, outcomes: Sequence[RumorOutcome]) -> Row:
    settings = {
        "sites": sites,
        **dataclasses.asdict(policy),
        "mode": policy.mode.value,
        "runs": len(outcomes),
        "seed": seed,
    }
    return settings | _means(
        outcomes, ("residue", "traffic", "refused", "t_average", "t_last", "cycles")
    )


def _plot_rumor(path: Path, rows: Sequence[Row]) -> None:
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

    _check_plot(plot_file)
    outcomes = run_trials(
        [partial(antientropy_trial, sites, mode, seed, run) for run in range(runs)],
        jobs,
        "anti-entropy",
    )
    residue = [
        estimate(cycle).mean
        for cycle in zip_longest(*(outcome.residue for outcome in outcomes), fillvalue=0.0)
    ]
    row: Row = {"sites": sites, "mode": mode.value, "runs": runs, "seed": seed} | _means(
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
            f"all know after {_cell(row, 'cycles')} cycles, {row['cycles_max']} at most; log2 n + "
            f"ln n = {expected:.1f}"
        )
    if plot_file is not None:
        from kvgossip.cli.sim.figures import Axis, Curve, plot

        curve = Curve(mode.value, range(len(residue)), [share or math.nan for share in residue])
        plot(
            plot_file,
            f"Anti-entropy among {sites} sites",
            Axis("cycle"),
            Axis("residue", logarithmic=True),
            [curve],
        )


def antientropy_trial(sites: int, mode: Mode, seed: int, run: int) -> AntiEntropyOutcome:
    from kvgossip.sim.papers.epidemic import spread_by_anti_entropy

    return spread_by_anti_entropy(sites, mode, Random(f"{seed} anti-entropy {run}"))


@dataclass(frozen=True, slots=True)
class SpatialTrial:
    """One run of `sim spatial`. `traffic_only`: the update is not spread, which takes long for a >
    2."""

    shape: str
    sites: int
    policy: SpatialPolicy
    cycles: int
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
    shape: Annotated[
        str,
        typer.Option("--topology", metavar="line|ring|grid|tree", help="How the sites are linked."),
    ] = "line",
    sites: Annotated[
        str, typer.Option("--sites", metavar="N|N,N", help="How many sites, one number or several.")
    ] = "1000",
    exponent: Annotated[
        str, typer.Option("--a", metavar="A|A,A", help="The exponent, one or several.")
    ] = "2",
    selection: Annotated[
        Selection,
        typer.Option(help="By distance, by rank in distance, or not at all.", show_choices=True),
    ] = Selection.DISTANCE,
    uniform_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of choices that are uniform all the same.")
    ] = 0.0,
    cycles: Annotated[
        int, typer.Option(min=1, help="Cycles over which traffic is averaged, in each run.")
    ] = 50,
    traffic_only: Annotated[
        bool,
        typer.Option(
            "--traffic-only", help="Do not measure cycles_until_all_know: it takes long for a > 2."
        ),
    ] = False,
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

    _check_plot(plot_file)
    settings = [
        (int(n), SpatialPolicy(selection, a, uniform_share))
        for a, n in product(_numbers(exponent, "--a"), _numbers(sites, "--sites", whole=True))
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
        _spatial_row(trials[first], outcomes[first : first + runs])
        for first in range(0, len(trials), runs)
    ]
    shown = [
        "traffic_per_link_mean",
        "traffic_per_link_max",
        "traffic_middle_link",
        "cycles_until_all_know",
    ]
    _show(
        rows,
        ["sites", "a", *(name for name in shown if name in rows[0])],
        as_json or output is Format.JSON,
    )
    if plot_file is not None:
        _plot_spatial(plot_file, rows)


def _spatial_row(trial: SpatialTrial, outcomes: Sequence[tuple[LinkTraffic, int | None]]) -> Row:
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
        for key, value in _mean(name, values).items()
    }


def _plot_spatial(path: Path, rows: Sequence[Row]) -> None:
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


def _numbers(text: str, option: str, whole: bool = False) -> list[float]:
    """`3`, `1,2,5`, `0.5,2` or, for whole numbers, `1-5`. Raises CommandError for anything else."""
    pattern = r"\d+" if whole else r"\d+(?:\.\d+)?|\.\d+"
    if whole and (found := re.fullmatch(r"(\d+)-(\d+)", text)) and int(found[1]) <= int(found[2]):
        return [float(number) for number in range(int(found[1]), int(found[2]) + 1)]
    parts = text.split(",")
    if not all(re.fullmatch(pattern, part) for part in parts):
        raise CommandError(
            f"{option} {text} is no number or list of numbers",
            f"write {'3, 1-5 or 1,2,5' if whole else '2 or 0.5,1,2'}",
        )
    return [float(part) for part in parts]


def _check_plot(path: Path | None) -> None:
    if path is not None:
        from kvgossip.cli.sim.figures import check_plot

        check_plot(path)


def _means(outcomes: Sequence[Any], names: Sequence[str]) -> Row:
    return {
        key: value
        for name in names
        for key, value in _mean(name, [getattr(outcome, name) for outcome in outcomes]).items()
    }


def _mean(name: str, values: Sequence[float]) -> Row:
    from kvgossip.sim.papers.epidemic import estimate

    found = estimate(values)
    return {name: found.mean, f"{name}_error": found.error}


def _show(rows: Sequence[Row], columns: Sequence[str], as_json: bool) -> None:
    """As JSON one experiment is an object, several are a list of them."""
    if as_json:
        print_json(rows[0] if len(rows) == 1 else list(rows))
    else:
        print_table(columns, [[_cell(row, column) for column in columns] for row in rows])


def _cell(row: Row, column: str) -> str:
    value = row[column]
    if f"{column}_error" not in row:
        return f"{value:g}" if isinstance(value, float) else str(value)
    return f"{value:.4g} ±{row[f'{column}_error']:.1g}"


def register(sim_app: typer.Typer) -> None:
    for command in (rumor, antientropy, spatial):
        sim_app.command(
            command.__name__,
            rich_help_panel="Epidemics in synchronous cycles",
            epilog="Exit code: 0 measured; 2 wrong usage.",
        )(command)

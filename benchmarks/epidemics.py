"""Do the papers' numbers come out of the code that ships, and which variant of rumor mongering is
best at equal traffic?

    python -m benchmarks.epidemics [tables relations variants antientropy spatial] [--runs 1000]
        [--jobs 1] [--seed 1] [--json]

Prints the tables of docs/epidemics.md as Markdown: Demers et al. 1987, Tables 1 to 3, the relations
between residue and traffic, all variants at equal traffic, cycles of anti-entropy, and the growth
of link traffic with the number of sites. About 5 minutes on one core.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

from benchmarks.report import Report, Row, Table, as_json, as_markdown
from kvgossip.cli.sim.antientropy import antientropy_trial
from kvgossip.cli.sim.rumor import rumor_trial
from kvgossip.cli.sim.spatial import SpatialTrial
from kvgossip.cli.sim.trials import run_trials
from kvgossip.protocol.membership.spatial import Selection, SpatialPolicy
from kvgossip.protocol.rumors.policy import Mode, RumorPolicy
from kvgossip.sim.papers.epidemic import Estimate, estimate
from kvgossip.sim.papers.spread import growth_law

SITES = 1000
PUBLISHED: dict[str, tuple[RumorPolicy, dict[int, tuple[float, float, float, float]]]] = {
    "Table 1: push, feedback, counter": (
        RumorPolicy(),
        {
            1: (0.18, 1.7, 11.0, 16.8),
            2: (0.037, 3.3, 12.1, 16.9),
            3: (0.011, 4.5, 12.5, 17.4),
            4: (0.0036, 5.6, 12.7, 17.5),
            5: (0.0012, 6.7, 12.8, 17.7),
        },
    ),
    "Table 2: push, blind, coin": (
        RumorPolicy(feedback=False, counter=False),
        {
            1: (0.96, 0.04, 19, 38),
            2: (0.20, 1.6, 17, 33),
            3: (0.060, 2.8, 15, 32),
            4: (0.021, 3.9, 14.1, 32),
            5: (0.008, 4.9, 13.8, 32),
        },
    ),
    "Table 3: pull, feedback, counter": (
        RumorPolicy(mode=Mode.PULL),
        {
            1: (3.1e-2, 2.7, 9.97, 17.6),
            2: (5.8e-4, 4.5, 10.07, 15.4),
            3: (4.0e-6, 6.1, 10.08, 14.0),
        },
    ),
}
"""k -> residue, traffic, t_average, t_last."""

K_MAX = 12
TRAFFICS = (3.0, 4.0)
GROWTH_SITES = (100, 316, 1000, 3162, 10_000)
GROWTH_EXPONENTS = (0.5, 1.0, 1.5, 2.0, 3.0)


@dataclass(frozen=True, slots=True)
class Point:
    """Means over the runs of one policy."""

    k: int
    residue: Estimate
    traffic: Estimate
    refused: Estimate
    t_average: Estimate
    t_last: Estimate


class Bench:
    def __init__(self, runs: int, jobs: int, seed: int) -> None:
        self.runs, self._jobs, self._seed = runs, jobs, seed

    def many(self, trial: Callable[[int], Any], label: str, runs: int | None = None) -> list[Any]:
        """What the trial returns for each run."""
        return run_trials(
            [partial(trial, run) for run in range(runs or self.runs)], self._jobs, label
        )

    def point(self, policy: RumorPolicy, sites: int = SITES, runs: int | None = None) -> Point:
        outcomes = self.many(
            partial(rumor_trial, sites, policy, self._seed),
            f"{name_of(policy)}, k = {policy.k}",
            runs,
        )
        names = ("residue", "traffic", "refused", "t_average", "t_last")
        return Point(
            policy.k, *(estimate(getattr(outcome, name) for outcome in outcomes) for name in names)
        )

    # -- the sections -----------------------------------------------------------------------------

    def tables(self) -> Iterator[tuple[str, list[Row]]]:
        for title, (policy, published) in PUBLISHED.items():
            yield (
                title,
                [self._beside(replace(policy, k=k), paper) for k, paper in published.items()],
            )

    def _beside(self, policy: RumorPolicy, paper: Sequence[float]) -> Row:
        point = self.point(policy)
        row: Row = {"k": policy.k}
        for symbol, found, theirs in zip(
            "smal",
            (point.residue, point.traffic, point.t_average, point.t_last),
            paper,
            strict=True,
        ):
            name = {"s": "s", "m": "m", "a": "t_ave", "l": "t_last"}[symbol]
            row |= {
                name: f"{found.mean:.3g} ±{found.error:.1g}",
                f"paper {name}": f"{theirs:g}",
                f"{name} %": f"{found.mean / theirs - 1:+.1%}",
            }
        return row

    def relations(self) -> Iterator[tuple[str, list[Row]]]:
        points = [
            (policy, self.point(policy))
            for policy in _push_policies()
            for policy in (replace(policy, k=2), replace(policy, k=4))
        ]
        yield (
            "Push: s = e^-m",
            [
                {
                    "policy": name_of(policy),
                    "k": at.k,
                    "s": show(at.residue),
                    "e^-m": f"{math.exp(-at.traffic.mean):.3g}",
                }
                for policy, at in points
            ],
        )
        limited = [
            self.point(RumorPolicy(k, connection_limit=1), 100_000, max(30, self.runs // 20))
            for k in (1, 2, 3, 4, 5)
        ]
        slopes = [math.nan] + [
            math.log(a.residue.mean / b.residue.mean) / (b.traffic.mean - a.traffic.mean)
            for a, b in pairwise(limited)
        ]
        yield (
            "Push with connection limit 1, 100,000 sites: -d(ln s)/dm tends to 1.582",
            [
                {
                    "k": at.k,
                    "s": show(at.residue),
                    "m": show(at.traffic),
                    "-ln s / m": f"{-math.log(at.residue.mean) / at.traffic.mean:.3f}",
                }
                | {"from k-1 to k": "" if math.isnan(slope) else f"{slope:.3f}"}
                for at, slope in zip(limited, slopes, strict=True)
            ],
        )

    def variants(self) -> Iterator[tuple[str, list[Row]]]:
        rows = [self._at_equal_traffic(policy) for policy in _variants()]
        yield (
            "All variants at equal traffic, best first",
            sorted(rows, key=lambda row: float(row["s at m = 4"].lstrip("<"))),
        )

    def _at_equal_traffic(self, policy: RumorPolicy) -> Row:
        points: list[Point] = []
        while not points or (points[-1].traffic.mean < TRAFFICS[-1] and len(points) < K_MAX):
            points.append(self.point(replace(policy, k=len(points) + 1)))
        row: Row = {"variant": name_of(policy)}
        for traffic in TRAFFICS:
            row[f"s at m = {traffic:g}"] = self._residue_at(points, traffic)
        row["t_last at m = 4"] = f"{_between(points, TRAFFICS[-1], lambda at: at.t_last.mean):.1f}"
        row["refused calls"] = f"{_between(points, TRAFFICS[-1], lambda at: at.refused.mean):.1f}"
        return row | {
            "measured (k: s, m)": "; ".join(
                f"{at.k}: {at.residue.mean:.2g}, {at.traffic.mean:.2f}" for at in points
            )
        }

    def _residue_at(self, points: Sequence[Point], traffic: float) -> str:
        """ln s is close to linear in m, so it is interpolated.

        A residue that was never met is taken for half of one site in all runs.
        """
        floor = 0.5 / (self.runs * SITES)
        residue = math.exp(
            _between(points, traffic, lambda at: math.log(max(at.residue.mean, floor)))
        )
        return f"{'<' if residue < 2 * floor else ''}{residue:.2g}"

    def antientropy(self) -> Iterator[tuple[str, list[Row]]]:
        rows = []
        for sites in (100, 1000, 10_000):
            runs = min(self.runs, 1_000_000 // sites)
            row: Row = {"n": sites, "log2 n + ln n": f"{math.log2(sites) + math.log(sites):.1f}"}
            for mode in Mode:
                outcomes = self.many(
                    partial(antientropy_trial, sites, mode, self._seed),
                    f"anti-entropy, {mode.value}",
                    runs,
                )
                row[mode.value] = show(estimate(outcome.cycles for outcome in outcomes))
            rows.append(row)
        yield "Anti-entropy: cycles until all know", rows

    def spatial(self) -> Iterator[tuple[str, list[Row]]]:
        for selection in (Selection.DISTANCE, Selection.RANK):
            yield (
                f"Middle link of a line, selection by {selection.value}: conversations a cycle",
                [self._growth(selection, exponent) for exponent in GROWTH_EXPONENTS],
            )

    def _growth(self, selection: Selection, exponent: float) -> Row:
        traffic = {}
        for sites in GROWTH_SITES:
            policy = SpatialPolicy(selection, exponent, 0.0)
            # The fewer the sites, the more cycles for the same precision.
            cycles, runs = max(60, 100_000 // sites), 10
            trials = [
                SpatialTrial("line", sites, policy, cycles, True, self._seed, run)
                for run in range(runs)
            ]
            outcomes = run_trials(trials, self._jobs, f"line, a = {exponent:g}, n = {sites}")
            traffic[sites] = estimate(found.middle or 0.0 for found, _ in outcomes)
        first, last = GROWTH_SITES[2], GROWTH_SITES[-1]
        decades = math.log(last / first)
        row: Row = {"a": f"{exponent:g}"} | {
            f"n = {sites:,}": show(found) for sites, found in traffic.items()
        }
        ratios = [found.mean / growth_law(exponent, sites) for sites, found in traffic.items()]
        row["T / law"] = " ".join(f"{ratio:.3g}" for ratio in ratios)
        row["slope 10^3..10^4"] = (
            f"{math.log(traffic[last].mean / traffic[first].mean) / decades:.3f}"
        )
        law = growth_law(exponent, last) / growth_law(exponent, first)
        return row | {"law's slope": f"{math.log(law) / decades:.3f}"}


def _between(points: Sequence[Point], traffic: float, figure: Callable[[Point], float]) -> float:
    """The figure at this traffic, on the straight line through the two points around it."""
    ordered = sorted(points, key=lambda at: at.traffic.mean)
    low, high = next(
        (pair for pair in pairwise(ordered) if pair[1].traffic.mean >= traffic), ordered[-2:]
    )
    share = (traffic - low.traffic.mean) / (high.traffic.mean - low.traffic.mean)
    return figure(low) + share * (figure(high) - figure(low))


def _push_policies() -> list[RumorPolicy]:
    return [
        RumorPolicy(feedback=feedback, counter=counter)
        for feedback in (True, False)
        for counter in (True, False)
    ]


def _variants() -> Iterator[RumorPolicy]:
    for mode in Mode:
        for policy in _push_policies():
            yield replace(policy, mode=mode)
        for hunt in (0, 1, 4, SITES):
            yield RumorPolicy(mode=mode, connection_limit=1, hunt=hunt)
    yield RumorPolicy(mode=Mode.PUSH_PULL, minimization=True)
    yield RumorPolicy(mode=Mode.PUSH_PULL, minimization=True, connection_limit=1, hunt=SITES)


def name_of(policy: RumorPolicy) -> str:
    words = [
        policy.mode.value,
        "feedback" if policy.feedback else "blind",
        "counter" if policy.counter else "coin",
    ]
    if policy.minimization:
        words.append("minimization")
    if policy.connection_limit:
        words.append(f"limit {policy.connection_limit}")
    if policy.hunt:
        words.append(f"hunt {policy.hunt}")
    return ", ".join(words)


def show(found: Estimate) -> str:
    return f"{found.mean:.4g} ±{found.error:.1g}"


SECTIONS: dict[str, Callable[[Bench], Iterator[tuple[str, list[Row]]]]] = {
    "tables": Bench.tables,
    "relations": Bench.relations,
    "variants": Bench.variants,
    "antientropy": Bench.antientropy,
    "spatial": Bench.spatial,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="default: all")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    bench = Bench(options.runs, options.jobs, options.seed)
    sections = [SECTIONS[section](bench) for section in options.sections or SECTIONS]
    tables = [Table(title, rows) for section in sections for title, rows in section]
    report = Report("epidemics", tables)
    print(as_json(report) if options.json else as_markdown(report))


if __name__ == "__main__":
    main()

"""What do open consoles cost those who use the node?

    python -m benchmarks.console [--browsers 5] [--seconds 6] [--rounds 8] [--rate 1000] [--json]

An agent of three serves GETs of 100 B at a steady rate and a few writes, without a browser and with
some, one after the other: without, with, with, without, in each round. `x` is the median of the
ratios of what a round has of each, for a machine with other work changes its speed. The node and
its members run on one processor, the load and the browsers on another: see console_process.py for
what a browser does and how late an answer is.

`node us` is the processor time of the node in each second: with browsers, more by what they cost.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.agents import ROOT, Agent, AgentError, cluster, cpu_s, environment, fill
from benchmarks.console_process import KEYS
from benchmarks.report import Report, Row, Table, finish, need

MEMBERS = 3
NODE_CORE, LOAD_CORE = 0, 1
GROWS_MAX = 1.2
TURN = (False, True, True, False)
"""Whether browsers are open, in the steps of a round."""
Figures = dict[str, float]


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "benchmarks.console_process", *map(str, words)]


@contextmanager
def browsers(agent: Agent, count: int) -> Iterator[None]:
    process = subprocess.Popen(
        command("browsers", agent.address[1], count),
        cwd=ROOT,
        env=environment(ROOT, {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    os.sched_setaffinity(process.pid, {LOAD_CORE})
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if not process.stdout.readline():
            raise AgentError("there are no browsers")
        yield
        if process.poll() is not None:
            raise AgentError("the browsers ended before the load did")
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()


def load(agent: Agent, seconds: float, rate: float) -> Figures:
    before_s, begun_s = cpu_s(agent.pid), time.monotonic()
    done = subprocess.run(
        ["taskset", "-c", str(LOAD_CORE), *command("load", agent.address[1], seconds, rate)],
        cwd=ROOT,
        env=environment(ROOT, {}),
        stdout=subprocess.PIPE,
        check=True,
    )
    spent_s = time.monotonic() - begun_s
    figures: Figures = json.loads(done.stdout)
    return {**figures, "node us": 1e6 * (cpu_s(agent.pid) - before_s) / spent_s}


def one_round(agent: Agent, count: int, seconds: float, rate: float) -> dict[bool, Figures]:
    """Of each figure the mean of the two steps, with browsers and without."""
    steps: dict[bool, list[Figures]] = {False: [], True: []}
    for is_open in TURN:
        with browsers(agent, count if is_open else 0):
            steps[is_open].append(load(agent, seconds, rate))
    return {
        is_open: {name: statistics.fmean(each[name] for each in some) for name in some[0]}
        for is_open, some in steps.items()
    }


def measure(count: int, seconds: float, rounds: int, rate: float) -> list[Row]:
    with cluster(MEMBERS, core=NODE_CORE) as agents:
        agent = agents[0]
        fill(agent.address, KEYS)
        found = [one_round(agent, count, seconds, rate) for _ in range(rounds)]
    rows = []
    for name in ("p50_ms", "p99_ms", "node us"):
        ratios = [each[True][name] / each[False][name] for each in found]
        rows.append(
            {
                "of": name.replace("_", ", "),
                "no browser": statistics.median(each[False][name] for each in found),
                f"{count} browsers": statistics.median(each[True][name] for each in found),
                "x": statistics.median(ratios),
                "least x": min(ratios),
                "most x": max(ratios),
            }
        )
    return rows


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--browsers", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each step")
    parser.add_argument("--rounds", type=int, default=8, help="of four steps each")
    parser.add_argument("--rate", type=float, default=1000.0, help="GETs in a second")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(words)
    need("taskset", cores=2)
    rows = measure(given.browsers, given.seconds, given.rounds, given.rate)
    p99 = next(row for row in rows if row["of"] == "p99, ms")
    target = f"with {given.browsers} browsers the p99 of a GET grows by less than 20 %"
    table = Table(f"GET beside {given.browsers} open consoles, {given.rate:.0f} a second", rows)
    finish(Report("console", [table], {}, {target: p99["x"] < GROWS_MAX}), json=given.json)


if __name__ == "__main__":
    main()

"""Does a bad release stop by itself, and how soon is everybody back?

    python -m benchmarks.canaries [--simulated 50] [--members 10] [--processes 50] [--seeds 5]
        [--rounds 5] [--json]

A release in which a value is too much for a check of every process goes to a tenth of the members.
Who made it looks what became of it, and takes it back at the first refusal.

simulated   members of the simulator, which loses every twentieth packet; virtual seconds, for each
            seed (canaries_simulated.py)
real        members that are processes, and `kvgossip release --to share=0.1 --bake 600s
            --abort-on-refusal`: from the writing of the pointer to that of the one that takes it
            back, and from the start of the command to its end

`hit`: who was to have it; `refused`: who is named for refusing it; `showed it`: processes to which
it was ever the truth. The command goes back at the first answer that names anybody, so it may name
fewer than were hit.

`rollback`: processes of ten hosts, one of each the member and the rest its followers, and a
rollback by one of them: from its call until the callback of the last one has heard.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

from benchmarks.agents import ROOT, Agent, AgentError
from benchmarks.canaries_simulated import BAD, GOOD, PREFIX, RATES, Shops
from benchmarks.embedded import Process, environment_in, process_in
from benchmarks.report import Report, Row, Table, finish
from kvgossip.releases.names import pointer_key
from kvgossip.releases.target import share

SHARE = 0.1
LOSS = 0.05
HOSTS = 10
STOPPED_S, BACK_S = 2.0, 1.0


# -- simulated -------------------------------------------------------------------------------------


def measure_simulated(members: int, seed: int) -> Row:
    trial = Shops(seed, members, LOSS, share(SHARE)).trial()
    return {
        "members": f"{members} simulated, seed {seed}",
        "hit": len(trial.hits),
        "refused": len(trial.refused),
        "showed it": len(trial.shown),
        "taken back, s": trial.stopped_s,
        "command, s": None,
    }


# -- real ------------------------------------------------------------------------------------------


def started(stack: ExitStack, folder: Path, names: Sequence[str]) -> tuple[Agent, list[Process]]:
    """Processes that have applied GOOD; those of one name are of one host."""
    agent = Agent("agent")
    stack.callback(agent.stop)
    agent.start()
    agent.settle()
    processes = [process_in(stack, name, folder, join=agent.gossip) for name in names]
    for command in ("open", "watch", "settle"):
        for process in processes:
            process.ask(command)
    processes[0].ask(f"release {GOOD} {RATES[GOOD]}")
    for process in processes:
        if len(shown(process, 1)) != 1:
            raise AgentError("a process does not show the release with which it is to begin")
    return agent, processes


def shown(process: Process, count: int) -> list[tuple[str, float]]:
    """So many releases in their order, each with the time at which the callback heard of it."""
    words = (word.split("@") for word in process.ask(f"shown {count}").split())
    return [(name, float(at_s)) for name, at_s in words]


def measure_real(folder: Path, members: int) -> Row:
    with ExitStack() as stack:
        agent, processes = started(stack, folder, [f"n{number}" for number in range(members)])
        values = folder / "values.json"
        values.write_text(json.dumps({"rate": RATES[BAD]}))
        command = [
            *(sys.executable, "-m", "kvgossip", "release", PREFIX, str(values), "--name", BAD),
            *("--to", f"share={SHARE}", "--bake", "600s", "--abort-on-refusal"),
            *("--url", agent.url, "-o", "json"),
        ]
        begun_s = time.monotonic()
        done = subprocess.run(
            command, cwd=ROOT, env=environment_in(folder), capture_output=True, check=False
        )
        took_s = time.monotonic() - begun_s
        outcome = json.loads(done.stdout or b"{}")
        if outcome.get("outcome") != "withdrawn":
            raise AgentError(f"the release was not taken back: {done.stderr.decode()}")
        made_ms, back_ms = pointers_ms(agent)[-2:]
        return {
            "members": f"{members} real",
            "hit": len({*outcome["applied"], *outcome["undecided"]}) + len(outcome["refused"]),
            "refused": len(outcome["refused"]),
            "showed it": sum(
                any(name == BAD for name, _ in shown(process, 1)) for process in processes
            ),
            "taken back, s": (back_ms - made_ms) / 1000,
            "command, s": took_s,
        }


def pointers_ms(agent: Agent) -> list[int]:
    """When each pointer was written, by the clock of its writer, the oldest first."""
    with urlopen(f"{agent.url}/history/{pointer_key(PREFIX)}") as answer:
        return [each["written_ms"] for each in reversed(json.load(answer)["versions"])]


def measure_rollback(folder: Path, processes: int, rounds: int) -> Row:
    names = [f"n{number % HOSTS}" for number in range(processes)]
    worst_s = []
    with ExitStack() as stack:
        _, running = started(stack, folder, names)
        for number in range(rounds):
            name, count = f"r{number}", 2 * number + 2
            running[0].ask(f"release {name} {number + 2}")
            for process in running:
                shown(process, count)
            begun_s = float(running[number % processes].ask("rollback"))
            heard = [shown(process, count + 1)[-1] for process in running]
            late = [each for each in heard if each[0] != GOOD]
            if late:
                raise AgentError(f"{len(late)} processes are not back")
            worst_s.append(max(at_s for _, at_s in heard) - begun_s)
    return {
        "processes": processes,
        "hosts": min(HOSTS, processes),
        "rounds": rounds,
        "last one back, median s": statistics.median(worst_s),
        "max s": max(worst_s),
    }


# -- report ----------------------------------------------------------------------------------------


def report(trials: Sequence[Row], rollback: Row) -> Report:
    laws, targets = {}, {}
    for row in trials:
        who = row["members"]
        laws[f"{who}: it stops, and names who refused it"] = 0 < row["refused"] <= row["hit"]
        laws[f"{who}: nobody shows it"] = not row["showed it"]
        targets[f"{who}: within {STOPPED_S:g} s"] = row["taken back, s"] <= STOPPED_S
    who = f"{rollback['processes']} processes are back within {BACK_S:g} s"
    targets[who] = rollback["max s"] <= BACK_S
    tables = [
        Table("a bad release to a tenth, which is taken back by itself", trials),
        Table("a rollback", [rollback]),
    ]
    return Report("canaries", tables, laws, targets)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulated", type=int, default=50, help="members of the simulator")
    parser.add_argument("--members", type=int, default=10, help="members that are processes")
    parser.add_argument("--processes", type=int, default=50, help="that go back")
    parser.add_argument("--seeds", type=int, default=3, help="runs of the simulator")
    parser.add_argument("--rounds", type=int, default=5, help="rollbacks")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    trials = []
    try:
        for seed in range(1, options.seeds + 1):
            trials.append(measure_simulated(options.simulated, seed))
            print(trials[-1], file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            trials.append(measure_real(Path(folder), options.members))
            print(trials[-1], file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            rollback = measure_rollback(Path(folder), options.processes, options.rounds)
    except AgentError as error:
        sys.exit(str(error))
    finish(report(trials, rollback), json=options.json)


if __name__ == "__main__":
    main()

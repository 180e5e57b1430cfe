"""Hostile bytes by the million: does a replica ever raise, break a law of its own, change for
somebody without its key, or do without bounds what a member says; does HTTP ever fail to answer,
and do both of its lanes answer alike?

    python -m benchmarks.fuzz [--frames 500000] [--requests 50000] [--seed 1] [--jobs 2]
        [--batch 20000] [--again NAME:BATCH] [--failures build/fuzz] [--json]

Frames go to five receivers in turn: `open`, `member` and `stranger` get single frames
(fuzzing/frames.py), `exchange-open` and `exchange-sealed` lies within exchanges
(fuzzing/exchanges.py). Requests go to nodes on loopback, without and with tokens
(fuzzing/servers.py). The laws stand at the heads of fuzzing/victim.py and fuzzing/servers.py.

Each batch has replicas and generators of its own, which follow from its number and the seed. One
that breaks a law ends there: its last input is written to a file, and the line that repeats it is
printed. `/s` includes making the inputs; `steps` are calls of functions, counted for one of sixteen
inputs; `held` is what is left in memory after a batch, of a replica beside its data.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from benchmarks.fuzzing import exchanges, frames, servers
from benchmarks.fuzzing.exchanges import Deception
from benchmarks.fuzzing.frames import Attack
from benchmarks.fuzzing.outcome import Failure, Outcome
from benchmarks.fuzzing.servers import Assault
from benchmarks.report import Report, Row, Table, finish

ATTACKS: dict[str, type[Attack | Deception | Assault]] = {
    **dict.fromkeys(frames.RECEIVERS, Attack),
    **dict.fromkeys(exchanges.RECEIVERS, Deception),
    **dict.fromkeys(servers.RECEIVERS, Assault),
}
"""What each receiver gets."""
OF_FRAMES = (*frames.RECEIVERS, *exchanges.RECEIVERS)
Trial = Callable[[], Outcome]
TOLD_S = 30.0
"""So often a long run says how far it is."""


def run_batch(name: str, seed: int, batch: int, inputs: int) -> Outcome:
    """One batch by itself."""
    began_s = time.perf_counter()
    attack = ATTACKS[name](name, seed, batch)
    outcome = attack.outcome
    try:
        attack.run(inputs)
        if not isinstance(attack, Assault):
            outcome.held_bytes = attack.victim.check_memory()
            attack.victim.check_newcomer(batch)
    except Exception as error:
        text, trace = f"{type(error).__name__}: {error}", traceback.format_exc()
        outcome.failures.append(Failure(batch, inputs, outcome.inputs, text, attack.data, trace))
    if not isinstance(attack, Assault):
        outcome.steps = attack.victim.steps
    outcome.taken_s = time.perf_counter() - began_s
    return outcome


def batches(names: Sequence[str], inputs: int, seed: int, size: int) -> Iterator[Trial]:
    """Batches of the receivers in turn, with so many inputs in all."""
    for batch, begun in enumerate(range(0, inputs, size)):
        name = names[batch % len(names)]
        yield partial(run_batch, name, seed, batch, min(size, inputs - begun))


def fuzz(trials: Sequence[Trial], jobs: int, told: Callable[[Outcome], None]) -> list[Outcome]:
    """What became of all batches, by receiver. `told` hears of each as it ends."""
    total = {name: Outcome(name) for name in ATTACKS}
    for found in _outcomes(trials, jobs):
        total[found.receiver].add(found)
        told(found)
    for outcome in total.values():
        outcome.failures.sort(key=lambda failure: failure.batch)
    # one whose first input fails has taken none
    return [outcome for outcome in total.values() if outcome.inputs or outcome.failures]


def _outcomes(trials: Sequence[Trial], jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        for trial in trials:
            yield trial()
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(trial) for trial in trials]):
            yield done.result()


class Teller:
    """Says on standard error how far it is, and writes failures to files as they come. `repeat`:
    the command, but for the batch."""

    def __init__(self, wanted: int, folder: Path, repeat: str) -> None:
        self._wanted, self._folder, self._repeat = wanted, folder, repeat
        self._began_s = self._told_s = time.monotonic()
        self._done = self._failed = 0

    def __call__(self, outcome: Outcome) -> None:
        self._done += outcome.inputs
        for failure in outcome.failures:
            self._failed += 1
            self._write(outcome.receiver, failure)
        now_s = time.monotonic()
        if now_s - self._told_s >= TOLD_S:
            self._told_s = now_s
            per_s = self._done / (now_s - self._began_s)
            left_s = max(0, self._wanted - self._done) / per_s
            print(
                f"fuzz: {self._done:,} of {self._wanted:,} inputs, {per_s:,.0f} a second, "
                f"{self._failed} failures, {left_s / 60:.0f} min left",
                file=sys.stderr,
            )

    def _write(self, name: str, failure: Failure) -> None:
        command = f"{self._repeat} --batch {failure.size} --again {name}:{failure.batch}"
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"{name}-{failure.batch}.txt"
        file.write_text(
            f"{failure.text}\n\nrepeat it with: {command}\n\ninput {failure.place:,} of the batch, "
            f"in hexadecimal:\n{failure.data.hex()}\n\n{failure.trace}"
        )
        print(
            f"fuzz: {name}: {failure.text[:300]}\n  {file}; repeat it with: {command}",
            file=sys.stderr,
        )


def report(found: Sequence[Outcome]) -> Report:
    rows: list[Row] = []
    for each in found:
        row: Row = {"receiver": each.receiver, "inputs": each.inputs}
        row["/s"] = each.inputs / max(each.taken_s, 1e-9)
        row["failures"] = len(each.failures)
        row["most steps"] = each.steps or None
        row["held KB"] = each.held_bytes // 1024
        row["what became of them"] = ", ".join(
            f"{name} {count:,}" for name, count in each.counts.most_common(6)
        )
        rows.append(row)
    failures: list[Row] = [
        {"receiver": each.receiver, "batch": failure.batch, "failure": failure.text[:300]}
        for each in found
        for failure in each.failures[:10]
    ]
    tables = [Table("hostile inputs", rows), *([Table("failures", failures)] if failures else [])]
    laws = {"nothing raises, and every law holds after every input": not failures}
    return Report("fuzz", tables, laws=laws)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=500_000)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--batch", type=int, default=20_000, help="inputs for one receiver")
    parser.add_argument("--again", type=_one, metavar="NAME:BATCH", help="this batch alone")
    parser.add_argument("--failures", type=Path, default=Path("build/fuzz"), metavar="DIR")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    seed, size = options.seed, options.batch
    if options.again is not None:
        name, batch = options.again
        trials: list[Trial] = [partial(run_batch, name, seed, batch, size)]
        wanted = size
    else:
        trials = [
            *batches(OF_FRAMES, options.frames, seed, size),
            *batches(servers.RECEIVERS, options.requests, seed, size),
        ]
        wanted = options.frames + options.requests
    repeat = f"python -m benchmarks.fuzz --seed {seed}"
    found = fuzz(trials, options.jobs, Teller(wanted, options.failures, repeat))
    finish(report(found), json=options.json)


def _one(text: str) -> tuple[str, int]:
    name, _, batch = text.rpartition(":")
    if name not in ATTACKS or not batch.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is none of {', '.join(ATTACKS)} with a number")
    return name, int(batch)


if __name__ == "__main__":
    main()

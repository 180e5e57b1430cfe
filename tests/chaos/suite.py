"""Many scenarios, a line for each: what broke, what this machine lacks, how long it took.

    python -m tests.chaos.suite --short     the most telling ones, within ten minutes
    python -m tests.chaos.suite --full      all of them, about 50 minutes
    python -m tests.chaos.suite --list      what they are
    python -m tests.chaos.suite clone "jepsen seed=2"

Two run at a time, each in namespaces of its own; those that cannot bear that run alone, at the end.
Exit code: 0 nothing broke; 1 a violation, or there was no time to run all; 2 wrong usage. Where
this machine can run nothing of it, one line says so, and nothing has failed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass

from .__main__ import UNAVAILABLE
from .machine import ROOT, need_namespaces
from .scenario import SCENARIOS, OptionError, Scenario, UnavailableError

JEPSEN_SETS = ("partitions", "pauses", "kills", "everything")

SHORT = (
    "jepsen seconds=25",
    "reverted_memory",
    "wait_after_restart_in_minority",
    "clock_glitch_pair",
    "clock_behind_at_start",
    "disk_with_a_hole",
    "disk_hangs freeze_s=12",
    "pruned_alive",
    "clone seconds=20",
    "corrupted kind=swap share=0.02 seconds=15",
    "durable_restart_is_stale",
    "founder_restarts_empty",
    "mixed_value_limit",
    "types_cut",
    "wait_in_rolling_restart delay_ms=40",
    "upgrade seconds=20",
)
FULL = (
    "steady",
    "full_while_compacting",
    "wait_after_restart_in_minority",
    "wait_after_restart_in_minority data=0",
    "wait_in_rolling_restart",
    "wait_in_rolling_restart data=0",
    "wait_in_rolling_restart delay_ms=40",
    "founder_restarts_empty",
    "founder_restarts_empty cut_s=15 join=1",
    "seeds_restart_empty",
    "seeds_restart_empty cut_s=15",
    "durable_restart_is_stale",
    "clock_behind_at_start",
    "clock_behind_at_start offset_s=-60",
    "clock_behind_running",
    "clock_wrong_at_boot",
    "clock_glitch_pair",
    "all_clocks_set_back",
    "clock_jumps",
    "expiry_under_skew",
    "disk_hangs",
    "disk_hangs write_here=0",
    "disk_full kind=full",
    "disk_full kind=readonly",
    "corrupted kind=flip share=0.05",
    "corrupted kind=swap share=0.02",
    "corrupted kind=swap share=0.02 sealed=1",
    "black_hole",
    "paused_peer",
    "one_link_cut what=link",
    "one_link_cut what=way",
    "one_link_cut what=udp",
    "two_datacenters",
    "clone",
    "clone pause_s=5",
    "addresses_swap",
    "names_move",
    "rotation_in_partition",
    "pruned_alive",
    "hot_copies",
    "disk_with_a_hole",
    "reverted_memory",
    "old_copy",
    "deleted_and_restored_copy",
    "mixed_value_limit",
    "types_cut",
    "import_during_writes",
    "watchers_come_and_go",
    *(f"jepsen kinds={kinds}" for kinds in JEPSEN_SETS),
    "jepsen kinds=memory-kills data=0",
    "jepsen kinds=weather tun=1 count=4",
    "jepsen kinds=rolling data=0 strict=1 count=3 seconds=40",
    "upgrade",
    "from_format_1",
    "disk_stutters",
    "late_writes",
)
SHORT_S, FULL_S = 480.0, 5400.0
"""No scenario begins later. Two minutes of ten are left to what runs then."""
SLOTS = 2
STOPPED_S = 60.0
"""A scenario that is to stop has taken everything down by then."""


@dataclass(frozen=True, slots=True)
class Run:
    """A line of a list: a scenario with its options."""

    line: str

    def __post_init__(self) -> None:
        """Raises KeyError or OptionError."""
        self.scenario.options(self.words[1:])

    @property
    def words(self) -> list[str]:
        return self.line.split()

    @property
    def scenario(self) -> Scenario:
        return SCENARIOS[self.words[0]]

    @property
    def time_limit_s(self) -> float:
        return self.scenario.time_limit_s(self.scenario.options(self.words[1:]))


class Suite:
    """Runs, their lines, and what has become of them."""

    def __init__(self, runs: list[Run], limit_s: float) -> None:
        self._runs, self._begin_s, self._limit_s = runs, time.monotonic(), limit_s
        self._done = 0
        self.outcomes: Counter[str] = Counter()

    async def run(self) -> None:
        """SIGTERM and SIGINT take down what runs."""
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        together = [each for each in self._runs if not each.scenario.alone]
        await asyncio.gather(*(self._slot(together) for _ in range(SLOTS)))
        await self._slot([each for each in self._runs if each.scenario.alone])

    @property
    def took_s(self) -> float:
        return time.monotonic() - self._begin_s

    async def _slot(self, waiting: list[Run]) -> None:
        while waiting:
            run, begin_s = waiting.pop(0), time.monotonic()
            if self.took_s > self._limit_s:
                self._tell("not run", 0.0, run, "there was no time left for it")
                continue
            outcome, text = await _run(run)
            self._tell(outcome, time.monotonic() - begin_s, run, text)

    def _tell(self, outcome: str, took_s: float, run: Run, text: str) -> None:
        self._done += 1
        self.outcomes[outcome] += 1
        count = f"{self._done:2}/{len(self._runs)}"
        reason = f": {text}" if text else ""
        print(f"{count} {outcome:9} {took_s:4.0f} s  {run.line}{reason}", flush=True)


async def _run(run: Run) -> tuple[str, str]:
    """What became of it, and why."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chaos", *run.words),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(run.time_limit_s + STOPPED_S):
            output, _ = await process.communicate()
    except TimeoutError:
        return "VIOLATION", "it did not end in time, and was killed"
    finally:
        await _stop(process)
    return outcome(process.returncode or 0, output.decode(errors="replace").strip())


async def _stop(process: asyncio.subprocess.Process) -> None:
    """First in words, then with all of its agents."""
    if process.returncode is not None:
        return
    process.terminate()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), STOPPED_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def outcome(code: int, output: str) -> tuple[str, str]:
    """Of the exit code and the output of one scenario: ok, skipped or VIOLATION, and why."""
    last = output.splitlines()[-1] if output else ""
    if code == 0:
        return "ok", "" if last == "}" else last
    if code == UNAVAILABLE:
        return "skipped", last.removeprefix("skipped: ")
    try:
        result = json.loads(output)
    except ValueError:
        return "VIOLATION", f"harness, exit {code}: {last}"
    return "VIOLATION", f"{result['violation'][:400]} ({result['file']})"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.suite",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--short", action="store_true", help="the most telling ones")
    which.add_argument("--full", action="store_true", help="all of them")
    which.add_argument("--list", action="store_true", help="print both lists")
    parser.add_argument("lines", nargs="*", help="scenarios with their options")
    choice = parser.parse_args()
    if choice.list:
        print("\n".join(["short:", *SHORT, "", "full:", *FULL]))
        return 0
    lines = choice.lines or (SHORT if choice.short else FULL if choice.full else ())
    limit_s = SHORT_S if choice.short else FULL_S
    if not lines:
        parser.error("name scenarios, or give --short or --full")
    try:
        need_namespaces()
    except UnavailableError as error:
        print(f"chaos: all scenarios are skipped: {error}")
        return 0
    try:
        suite = Suite([Run(line) for line in lines], limit_s)
    except (KeyError, OptionError) as error:
        parser.error(f"{error}: see python -m tests.chaos")
    try:
        asyncio.run(suite.run())
    except asyncio.CancelledError:
        print("chaos: stopped")
        return 1
    parts = [f"{count} {what}" for what, count in suite.outcomes.items()]
    print(f"chaos: {', '.join(parts)} in {suite.took_s:.0f} s")
    return 1 if suite.outcomes["VIOLATION"] or suite.outcomes["not run"] else 0


if __name__ == "__main__":
    sys.exit(main())

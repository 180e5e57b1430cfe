"""All benchmarks in turn, beside the peers that are there; the tables of docs/performance.md.

    python -m benchmarks.all [--quick] [--only http wait ...] [--write docs/performance.md] [--json]

Each runs as a process of its own. One that fails does not stop the rest; then this exits with 1.
--write replaces what stands between the markers of each benchmark that ran and did not fail, and
nothing else: its tables, with the commit that they are of, the date, the machine, and the peers.
All of them take about 50 minutes on two quiet processors; how many seconds each took is written,
too. For more rounds, or longer ones, run one by itself with its options. --quick takes minutes and
shows that all run, not how fast: it does not write.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

import msgspec

from benchmarks.agents import ROOT, environment
from benchmarks.report import Report, as_json, as_markdown, as_text, from_json

QUICK: dict[str, str] = {
    "http": "--seconds 1 --rounds 1",
    "durability": "--seconds 1 --rounds 1 --keys 2000",
    "propagation": "--nodes 3 --writes 20",
    "wait": "--nodes 3 --writes 10",
    "locks": "--seconds 1 --rounds 1",
    "watchers": "--watchers 200 --rounds 2",
    "fanout": "--watchers 50 --rounds 3 --writes 5",
    "exchange": "--keys 2000 --differences 1 100 --rounds 1 --seconds 2 --gets-per-s 50",
    "embedded": "--processes 3 --writes 20 --keys 500 --seconds 1 --rounds 1",
    "servers": "--only gunicorn spawn --changes 3 --restarts 1",
    "console": "--seconds 1 --rounds 1",
    "canaries": "--simulated 10 --members 3 --processes 4 --seeds 1 --rounds 1",
    "memory": "--keys 5000 --rounds 1",
    "seal": "--rounds 1 --seconds 0.1",
    "kill": "--kills 3",
    "overload": "--seconds 5 --slow 5",
    "churn": "--nodes 1 --portions 1 --keys 2000 --base 20000",
    "membership": "--agents 3 --idle-s 5 --kills 1 --calm-s 2",
    "breadth": "--nodes 5 --writes 5",
    "residue": "--nodes 3 --loss 0 --k 3 --writes 10 --sites 100 --runs 5",
    "bad_links": "--nodes 10 --direct-fanout 1 --writes 5",
    "floods": "--seconds 2 --calm-s 1",
    "fuzz": "--frames 5000 --requests 2000 --batch 1000",
    "inputs": "--keys 3000 --rounds 1",
    "startup": "--runs 1",
}
"""The benchmarks in their order, and the options with which each is over soon.

`epidemics` is not here: its tables stand in docs/epidemics.md, and no machine changes them."""
PAGE = "docs/performance.md"
PEERS = {
    "etcd": ("etcd", "--version"),
    "redis": ("redis-server", "--version"),
    "nats": ("nats-server", "--version"),
    "serf": ("serf", "version"),
}
"""How each says its version."""


class Outcome(NamedTuple):
    """`report` is None where there is none; `failure` is empty where there was none."""

    report: Report | None
    failure: str


def run(name: str, options: Sequence[str]) -> Outcome:
    """One benchmark, which shows its progress on standard error."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *options, "--json"]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, cwd=ROOT, env=environment(ROOT, {}), check=False
    )
    try:
        report = from_json(done.stdout)
    except msgspec.DecodeError:
        return Outcome(None, f"it ended with exit code {done.returncode} and no report")
    if done.returncode:
        broken = "; ".join(report.broken) or "no law is broken: see above"
        return Outcome(report, f"it ended with exit code {done.returncode}: {broken}")
    return Outcome(report, "")


# -- of what the figures are -----------------------------------------------------------------------


def commit() -> str:
    """The commit of this checkout, and whether it has changes that are in none: but those of the
    page, which each run makes."""
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", f":!{PAGE}")
    name = _git("rev-parse", "--short", "HEAD") or "unknown"
    return f"{name} with changes" if changed else name


def _git(*arguments: str) -> str:
    """Empty where there is no answer."""
    try:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def machine() -> str:
    text = Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    processor = model[1] if model else platform.machine()
    return f"{os.cpu_count()} processors ({processor}), Python {platform.python_version()}"


def peers() -> dict[str, str]:
    """The version of each peer that is installed."""
    found = {}
    for name, (command, option) in PEERS.items():
        if shutil.which(command) is None:
            continue
        done = subprocess.run([command, option], capture_output=True, text=True, check=False)
        version = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
        found[name] = version[0] if version else "of an unknown version"
    return found


def provenance() -> str:
    """One line for a human, to stand above figures."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    there = peers()
    installed = ", ".join(f"{name} {version}" for name, version in there.items()) or "none"
    absent = ", ".join(name for name in PEERS if name not in there) or "none"
    lines = (
        f"Of commit {commit()}, {today}; {machine()}.",
        f"Peers installed: {installed}; not installed: {absent}.",
    )
    return "\n".join(fill(line, 100, break_on_hyphens=False) for line in lines)


# -- the page --------------------------------------------------------------------------------------


class PageError(Exception):
    """The page has no place for a table."""


def begin_of(name: str) -> str:
    return f"<!-- benchmarks.{name}: made by benchmarks.all, do not edit -->"


def end_of(name: str) -> str:
    return f"<!-- end of benchmarks.{name} -->"


def parts_of(page: str, name: str) -> tuple[str, str]:
    """The page before and after the figures of a benchmark, with markers. Raises PageError."""
    before, begin, rest = page.partition(begin_of(name))
    _, end, after = rest.partition(end_of(name))
    if not begin or not end:
        raise PageError(f"the page lacks the markers of {name}: {begin_of(name)} {end_of(name)}")
    return before + begin, end + after


def written(page: str, reports: Mapping[str, Report], of: str) -> str:
    """The page with these figures in place of its own. Raises PageError."""
    for name, report in reports.items():
        before, after = parts_of(page, name)
        page = f"{before}\n{of}\n\n{as_markdown(report)}\n{after}"
    return page


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="only to see that they run")
    parser.add_argument("--only", nargs="+", choices=tuple(QUICK), default=tuple(QUICK))
    parser.add_argument("--write", type=Path, metavar="FILE", help="the page with the tables")
    parser.add_argument("--json", action="store_true", help="print all reports as JSON")
    options = parser.parse_args()
    if options.quick and options.write:
        parser.error("--quick measures nothing that is worth writing: leave out --write")
    page = ""
    if options.write:
        try:
            page = options.write.read_text()
            for name in options.only:
                parts_of(page, name)
        except (OSError, PageError) as error:
            parser.error(f"--write {options.write}: {error}")
    of, reports, failures = provenance(), {}, {}
    for place, name in enumerate(options.only):
        print(f"{name}: {place + 1} of {len(options.only)}", file=sys.stderr, flush=True)
        began_s = time.monotonic()
        report, failure = run(name, QUICK[name].split() if options.quick else ())
        took_s = time.monotonic() - began_s
        print(f"{name}: {failure or 'done'}, {took_s:.0f} s", file=sys.stderr, flush=True)
        if report is not None:
            reports[name] = report
        if failure:
            failures[name] = failure
        elif options.write and report is not None:
            # at once: what was measured is kept, whatever becomes of the rest
            page = written(page, {name: report}, f"{of}\nIt took {took_s:.0f} s.")
            options.write.write_text(page)
    print_all(of, reports, failures, as_one_json=options.json)
    sys.exit(1 if failures else 0)


def print_all(
    of: str, reports: Mapping[str, Report], failures: Mapping[str, str], *, as_one_json: bool
) -> None:
    if as_one_json:
        found = {name: json.loads(as_json(report)) for name, report in reports.items()}
        print(json.dumps({"of": of, "reports": found, "failures": dict(failures)}, indent=2))
        return
    print(of)
    for name, report in reports.items():
        print(f"\n== {name}\n{as_text(report)}")
    for name, failure in failures.items():
        print(f"\n{name} FAILED: {failure}")


if __name__ == "__main__":
    main()

"""What does a command cost that asks a node one question?

    python -m benchmarks.startup [--runs 30] [--json]

CPU time of whole processes, user and system, without what they wait for: of commands, and of the
imports that any client over HTTP needs, `python -c 'import http.client, json'`. They are run in
turn, and the least of each counts: what a busy machine adds is no property of a command. All
modules are compiled, as those of a package are that is installed.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from benchmarks.agents import ROOT, cluster, environment
from benchmarks.report import Report, Row, Table, finish
from kvgossip.client.client import Client

RATIO_MAX = 3.0
"""`kvgossip get` may cost so many times what the imports do."""
BARE = ("-c", "import http.client, json")
MAIN = ("-c", "from kvgossip.__main__ import main; main()")
"""As the script `kvgossip` does, wherever it is installed."""
COMMANDS = {
    "get": ("get", "a"),
    "put": ("put", "a", "1"),
    "list -o json": ("list", "-o", "json"),
    "list": ("list",),
    "--help": ("--help",),
}


def cpu_ms(arguments: Sequence[str], variables: dict[str, str]) -> float:
    """CPU time of one process of this interpreter."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=variables)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def measure(runs: int) -> list[Row]:
    asked = {"import http.client, json": BARE} | {
        f"kvgossip {name}": (*MAIN, *words) for name, words in COMMANDS.items()
    }
    least = dict.fromkeys(asked, float("inf"))
    with cluster(1) as (agent,), tempfile.TemporaryDirectory() as compiled:
        variables = environment(ROOT, {}) | {"PYTHONPYCACHEPREFIX": compiled}
        variables.pop("PYTHONDONTWRITEBYTECODE", None)
        variables["KVGOSSIP_URL"] = f"http://{agent.http}"
        with Client(variables["KVGOSSIP_URL"]) as client:
            client.put("a", b"1")
        for run in range(runs + 1):
            for name, arguments in asked.items():
                took_ms = cpu_ms(arguments, variables)
                if run:  # the first one compiles
                    least[name] = min(least[name], took_ms)
    bare_ms = least["import http.client, json"]
    return [
        {"process": name, "CPU ms": ms, "times the imports": ms / bare_ms}
        for name, ms in least.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=30, help="of each")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    rows = measure(options.runs)
    ratio = next(row["times the imports"] for row in rows if row["process"] == "kvgossip get")
    target = f"kvgossip get costs at most {RATIO_MAX:.0f} times what the imports do"
    title = "CPU time of a process, from its start to its end"
    targets = {target: float(ratio) <= RATIO_MAX}
    finish(Report("startup", [Table(title, rows)], targets=targets), json=options.json)


if __name__ == "__main__":
    main()

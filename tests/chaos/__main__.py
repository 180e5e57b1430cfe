"""python -m tests.chaos SCENARIO [name=value ...]: one scenario, with real agents.

It needs root, `ip` and `iptables`; some need /dev/net/tun, libfaketime or ext4 on a loop device.
The agents live in network namespaces of their own: nothing outside is touched.

    python -m tests.chaos                               the scenarios
    python -m tests.chaos jepsen --help                 what one does, and its options
    python -m tests.chaos jepsen kinds=kills seed=7     run it
    python -m tests.chaos.suite --short                 many of them

The result is JSON: what happened, and `violation`, which says what broke; empty where nothing did.
It is kept, with the logs of all agents, in CHAOS_FOLDER (default: kvgossip-chaos in the folder of
temporary files).

Exit code: 0 nothing broke, 1 a violation, 2 wrong usage, 77 this machine lacks something for it.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time

from .http_client import NoAnswerError
from .machine import FOLDER
from .probe import NeverError
from .scenario import SCENARIOS, Option, OptionError, Result, Scenario, UnavailableError
from .scenarios import MODULES

VIOLATION, USAGE, UNAVAILABLE = 1, 2, 77


async def _bounded(scenario: Scenario, options: dict[str, Option]) -> Result:
    """Whatever a cluster does not do in time is a violation; SIGTERM takes everything down."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    limit_s = scenario.time_limit_s(options)
    try:
        async with asyncio.timeout(limit_s):
            return await scenario.run(**options)
    except TimeoutError:
        return {"violation": f"not done within {limit_s:.0f} s"}
    except (NeverError, NoAnswerError) as error:
        return {"violation": str(error)}


def run(scenario: Scenario, options: dict[str, Option]) -> Result:
    """Its result, which is kept in a file, too. Raises UnavailableError."""
    begin_s = time.monotonic()
    found = asyncio.run(_bounded(scenario, options))
    if bugs := found.get("bugs"):
        found["violation"] = "; ".join(filter(None, (found["violation"], f"a log says {bugs[0]}")))
    took_s = round(time.monotonic() - begin_s, 1)
    result = {"scenario": scenario.name, "options": options, "took_s": took_s, **found}
    folder = FOLDER / "results"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{scenario.name}-{time.strftime('%H%M%S')}-{time.monotonic_ns() % 10**6}.json"
    result["file"] = str(file)
    file.write_text(_json(result) + "\n", encoding="utf-8")
    return result


def _json(result: Result) -> str:
    return json.dumps(result, indent=1, default=str)


def _list() -> str:
    lines = [__doc__ or "", "Scenarios:"]
    for module in MODULES:
        first = (module.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        lines.append(f"\n  {first}")
        for each in SCENARIOS.values():
            if each.run.__module__ == module.__name__:
                lines.append(f"    {each.name:32} {each.summary}")
    return "\n".join(lines)


def _help(scenario: Scenario) -> str:
    options = [f"    {name}={value!s:12} the default" for name, value in scenario.defaults.items()]
    return "\n".join([scenario.name, "", scenario.description, "", "Options:", *options])


def main(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_list())
        return 0
    name, *rest = words
    scenario = SCENARIOS.get(name)
    if scenario is None:
        print(f"there is no scenario {name!r}; `python -m tests.chaos` lists them", file=sys.stderr)
        return USAGE
    if "-h" in rest or "--help" in rest:
        print(_help(scenario))
        return 0
    try:
        result = run(scenario, scenario.options(rest))
    except OptionError as error:
        print(error, file=sys.stderr)
        return USAGE
    except UnavailableError as error:
        print(f"skipped: {error}")
        return UNAVAILABLE
    print(result.get("nothing") or _json(result))
    return VIOLATION if result["violation"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

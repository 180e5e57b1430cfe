"""How much of a bare aiohttp handler's speed does the HTTP API keep?

    python -m benchmarks.http [--seconds 5] [--rounds 3] [--json]

GET and PUT of 100 B over 64 keep-alive connections with wrk. The server and the load are pinned to one core each. Beside it, in the
same run and in turns, the smallest aiohttp application that puts and gets bytes in a dict: machines are noisy, ratios less so.
Needs wrk (Debian: apt-get install wrk) and two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CONNECTIONS = 64
VALUE_BYTES = 100
KEYS = 1000
SERVER_CORE, LOAD_CORE = 0, 1
SCRIPT = """
local n = 0
local body = string.rep("x", %(bytes)d)
function request()
  n = n + 1
  return wrk.format("%(method)s", "/kv/key-" .. (n %% %(keys)d), nil, %(body)s)
end
"""


def serve(kind: str) -> None:
    """Run one server in this process, pinned; print its port, stop when standard input ends."""
    os.sched_setaffinity(0, {SERVER_CORE})
    from kvgossip.runtime.loop import run

    run(_serve_bare() if kind == "bare" else _serve_node())


async def _serve_bare() -> None:
    from aiohttp import web

    store: dict[str, bytes] = {}

    async def get(request: web.Request) -> web.Response:
        return web.Response(body=store[request.match_info["key"]])

    async def put(request: web.Request) -> web.Response:
        store[request.match_info["key"]] = await request.read()
        return web.json_response({"key": request.match_info["key"]})

    app = web.Application()
    app.router.add_get("/kv/{key}", get)
    app.router.add_put("/kv/{key}", put)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    await _until_end_of_input(runner.addresses[0][1])
    await runner.cleanup()


async def _serve_node() -> None:
    from kvgossip import Config, Node
    from kvgossip.api.server import ApiServer, listen
    from kvgossip.config import Address

    async with Node(Config(name="bench", gossip=Address("127.0.0.1", 0))) as node:
        server = ApiServer(node, listen(Address("127.0.0.1", 0)))
        await server.start()
        await _until_end_of_input(server.address.port)
        await server.stop()


async def _until_end_of_input(port: int) -> None:
    print(port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


class Server:
    """A server process of one kind."""

    def __init__(self, kind: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.http", "--serve", kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def load(port: int, method: str, seconds: int) -> dict[str, float]:
    """Requests/s and latencies in ms, as wrk measures them."""
    text = SCRIPT % {"method": method, "keys": KEYS, "bytes": VALUE_BYTES, "body": "body" if method == "PUT" else "nil"}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "load.lua")
        script.write_text(text)
        command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(script)]
        done = subprocess.run([*command, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True)
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        sys.exit(f"the load saw errors:\n{done.stdout}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    assert rate is not None, done.stdout
    return {"requests_per_s": float(rate[1]), "p50_ms": _latency(done.stdout, "50%"), "p99_ms": _latency(done.stdout, "99%")}


def _latency(text: str, share: str) -> float:
    found = re.search(rf"{share}\s+([\d.]+)(us|ms|s)", text)
    assert found is not None, text
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


def measure(seconds: int, rounds: int) -> dict[str, Any]:
    servers = {kind: Server(kind) for kind in ("bare", "kvgossip")}
    runs: dict[tuple[str, str], list[dict[str, float]]] = {}
    try:
        for server in servers.values():
            load(server.port, "PUT", 1)
        for turn in range(rounds):
            for method in ("GET", "PUT"):
                for kind in sorted(servers, reverse=bool(turn % 2)):
                    runs.setdefault((method, kind), []).append(load(servers[kind].port, method, seconds))
                    print(f"round {turn + 1}/{rounds}: {method} {kind}: {runs[method, kind][-1]}", file=sys.stderr)
    finally:
        for server in servers.values():
            server.stop()
    figures: dict[str, Any] = {}
    for (method, kind), seen in runs.items():
        figures.setdefault(method, {})[kind] = {name: round(statistics.median(run[name] for run in seen), 3) for name in seen[0]}
    for by_kind in figures.values():
        by_kind["ratio"] = round(by_kind["kvgossip"]["requests_per_s"] / by_kind["bare"]["requests_per_s"], 3)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5, help="length of one load")
    parser.add_argument("--rounds", type=int, default=3, help="loads of each kind; the median counts")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--serve", choices=("bare", "kvgossip"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    if shutil.which("wrk") is None or shutil.which("taskset") is None or (os.cpu_count() or 1) < 2:
        sys.exit("this benchmark needs wrk, taskset and two cores (Debian: apt-get install wrk util-linux)")
    figures = measure(arguments.seconds, arguments.rounds)
    if arguments.json:
        print(json.dumps(figures, indent=2))
        return
    print(f"{CONNECTIONS} keep-alive connections, {VALUE_BYTES} B, one core for the server, one for the load")
    print(f"{'':6}{'':10}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}")
    for method, by_kind in figures.items():
        for kind in ("bare", "kvgossip"):
            seen = by_kind[kind]
            print(f"{method:6}{kind:10}{seen['requests_per_s']:12.0f}{seen['p50_ms']:9.2f}{seen['p99_ms']:9.2f}")
        print(f"{method:6}{'ratio':10}{by_kind['ratio']:12.2f}")


if __name__ == "__main__":
    main()

"""Agents to measure: `kvgossip agent` as users run it, each a process of its own.

An agent has the allocator of the system, a frozen heap and its own event loop. A node inside the
process of a benchmark has none of these, so its figures are of something that nobody runs.

Every agent listens on ports that the system chooses, and says which they are.
"""

from __future__ import annotations

import base64
import ctypes
import http.client
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 120.0
BATCH = 250
VALUE_BYTES = 100
PAGE_BYTES = os.sysconf("SC_PAGESIZE")


class AgentError(Exception):
    """An agent does not do what it was started for."""


class Agent:
    """One agent. `url`, `http` and `gossip` are where it serves; each start may find other ports.

    `parameters` are those of the configuration, by name, `options` more words of the command.
    `core` is the processor to which it is pinned, `tree` the checkout that it runs from. `log` gets
    what it says from INFO on; without it there is but what is an error, on standard error. Methods
    raise AgentError.
    """

    def __init__(
        self,
        name: str,
        *,
        cluster: str = "bench",
        data_dir: Path | None = None,
        parameters: Mapping[str, object] | None = None,
        options: Sequence[str] = (),
        core: int | None = None,
        tree: Path = ROOT,
        log: Path | None = None,
    ) -> None:
        self.name, self.data_dir = name, data_dir
        self.url = self.http = self.gossip = ""
        self._cluster, self._parameters, self._core = cluster, parameters or {}, core
        self._options, self._tree, self._log = options, tree, log
        self._process: subprocess.Popen[bytes] | None = None
        self._output = b""

    def start(self, *join: str) -> float:
        """Seconds until it serves. Reads may be refused until it has settled."""
        started_s = time.monotonic()
        self._output = b""
        with open(self._log, "ab") if self._log is not None else nullcontext() as log:
            self._process = subprocess.Popen(
                self.command(join),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment(self._tree, self._parameters),
                cwd=self._tree,
            )
        if self._core is not None:
            os.sched_setaffinity(self._process.pid, {self._core})
        try:
            facts = self._next_event("serving")
        except AgentError:
            self.kill()
            raise
        self.url, self.gossip = facts["url"], facts["gossip"]
        self.http = urlsplit(self.url).netloc
        return time.monotonic() - started_s

    def command(self, join: Sequence[str] = ()) -> list[str]:
        command = [sys.executable, "-m", "kvgossip", "agent", "--name", self.name]
        command += ["--cluster", self._cluster, "--http", "127.0.0.1:0", "--gossip", "127.0.0.1:0"]
        command += ["--log-level", "error" if self._log is None else "info"]
        command += ["--stop-on-eof", "--output", "json", *self._options]
        command += ["--data-dir", str(self.data_dir)] if self.data_dir is not None else []
        return command + [word for address in join for word in ("--join", address)]

    def settle(self) -> None:
        """Returns once it has settled; once for each start."""
        self._next_event("settled")

    def _next_event(self, event: str) -> Any:
        line = self._next_line(event)
        facts = json.loads(line)
        if facts["event"] != event:
            raise AgentError(f"{self.name} is not {event}, but says {line!r}")
        return facts

    def _next_line(self, event: str) -> bytes:
        output, deadline_s = self._running.stdout, time.monotonic() + PATIENCE_S
        assert output is not None
        poll = select.poll()
        poll.register(output, select.POLLIN)
        while b"\n" not in self._output:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not poll.poll(1000 * left_s):
                raise AgentError(f"{self.name} is not {event} after {PATIENCE_S:.0f} s")
            data = os.read(output.fileno(), 65536)
            if not data:
                code = self._running.wait()
                raise AgentError(f"{self.name} ended with exit code {code} before it was {event}")
            self._output += data
        line, _, self._output = self._output.partition(b"\n")
        return line

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise AgentError(f"{self.name} does not run")
        return self._process

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of its HTTP."""
        host, _, port = self.http.rpartition(":")
        return host, int(port)

    def stop(self) -> None:
        """It leaves and ends. Nothing happens where it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(number)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AgentError(f"{self.name} does not end within {PATIENCE_S:.0f} s") from None


def environment(tree: Path, parameters: Mapping[str, object]) -> dict[str, str]:
    """Ours, but what configures an agent, which founds its cluster at once; the code of the tree is
    found first."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("KVGOSSIP_")}
    ours = {f"KVGOSSIP_{name.upper()}": str(value) for name, value in parameters.items()}
    return {**kept, "KVGOSSIP_FOUNDING_S": "0", **ours, "PYTHONPATH": str(tree)}


@contextmanager
def cluster(
    size: int,
    *,
    folder: Path | None = None,
    parameters: Mapping[str, object] | None = None,
    core: int | None = None,
    tree: Path = ROOT,
) -> Iterator[list[Agent]]:
    """Agents that have joined the first of them, and have settled; with data below `folder`."""
    agents = [
        Agent(
            f"n{number + 1}",
            data_dir=None if folder is None else folder / f"n{number + 1}",
            parameters=parameters,
            core=core,
            tree=tree,
        )
        for number in range(size)
    ]
    try:
        start_all(agents)
        yield agents
    finally:
        stop_all(agents)


def start_all(agents: Sequence[Agent]) -> None:
    first, *others = agents
    first.start()
    for agent in others:
        agent.start(first.gossip)
    for agent in agents:
        agent.settle()


def stop_all(agents: Sequence[Agent]) -> None:
    for agent in agents:
        agent.stop()


# -- what a process uses ---------------------------------------------------------------------------


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, of all its threads and of the kernel for it.

    By its clock (POSIX clock_getcpuclockid), which counts nanoseconds; /proc/PID/stat counts
    hundredths of a second.
    """
    clock = ctypes.c_int()
    code = ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock))
    if code:
        raise ProcessLookupError(code, os.strerror(code))
    return time.clock_gettime(clock.value)


def resident_bytes(pid: int | str = "self") -> int:
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * PAGE_BYTES


def pss_bytes(pid: int, kind: str = "Pss") -> int:
    """Proportional set size; `Pss_Anon` leaves out the pages of libraries."""
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return 1024 * next(int(line.split()[1]) for line in rollup if line.startswith(f"{kind}:"))


# -- a store full of keys --------------------------------------------------------------------------


def key_of(number: int) -> str:
    return f"key-{number:08}"


def fill(address: tuple[str, int], keys: int, value_bytes: int = VALUE_BYTES) -> None:
    """Writes that many keys with random values, by batches over HTTP. Raises AgentError."""
    rng = random.Random(1)
    connection = http.client.HTTPConnection(*address, timeout=PATIENCE_S)
    for start in range(0, keys, BATCH):
        operations = [
            {"put": key_of(number), "base64": base64.b64encode(rng.randbytes(value_bytes)).decode()}
            for number in range(start, min(start + BATCH, keys))
        ]
        body = json.dumps({"operations": operations})
        connection.request("POST", "/batch", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise AgentError(f"a batch was answered with {answer.status}: {text[:300]!r}")
    connection.close()

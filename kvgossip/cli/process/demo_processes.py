"""The processes of the demo: agents as children on this machine, their logs side by side, and no
orphans."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Coroutine
from typing import Any

from rich.console import Console
from rich.text import Text

from kvgossip.cli.errors import REFUSED, CommandError, printable

PORTS_FROM = 7480
"""The first node's preferred HTTP port, the others' follow in steps of two; where one is taken, a
free one is."""
# long enough for a machine that is busy with other things: a user who waits sees the logs
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0
LINE_BYTES_MAX = 1024 * 1024
OPEN = "Open to every program and user of this machine, to no other: no tokens, no TLS, no keyring."
COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "bright_red")


class Child:
    """One agent: its process, and the addresses that it has announced."""

    def __init__(self, name: str, colour: str, process: Process) -> None:
        self.name, self.colour, self.process = name, colour, process
        #: The addresses at which it serves HTTP and gossip; empty until it does.
        self.url = self.gossip = ""
        self.serving = asyncio.Event()
        self.settled = asyncio.Event()

    def heard(self, line: dict[str, Any]) -> None:
        if line.get("event") == "serving":
            self.url, self.gossip = line["url"], line["gossip"]
            self.serving.set()
        elif line.get("event") == "settled":
            self.settled.set()


class Demo:
    """Starts the first agent, lets the others join it, and stops all at a signal."""

    def __init__(self, nodes: int, ports_from: int | None, log_level: str) -> None:
        self._nodes, self._ports_from, self._log_level = nodes, ports_from, log_level
        self._children: list[Child] = []
        #: They follow the output and the end of the children.
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        #: Why the demo cannot go on; empty while it can.
        self._failure = ""
        # Logs of several nodes at once read badly when folded; a pipe gets them without colour.
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    async def run(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        try:
            if await self._unless_stopped(self._start_all()):
                self._print_usage()
                await self._stop.wait()
        finally:
            await self._stop_all()
        if self._failure:
            raise CommandError(self._failure, "its last log lines say why", REFUSED)

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """True if the work came to its end before a signal to stop. Raises whatever the work
        raises."""
        task, stopped = asyncio.create_task(work), asyncio.create_task(self._stop.wait())
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if task.done():
            task.result()
            return True
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return False

    async def _start_all(self) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                first = await self._start(0)
                await first.serving.wait()
                others = [await self._start(index, first.gossip) for index in range(1, self._nodes)]
                for child in (first, *others):
                    await child.serving.wait()
                    await child.settled.wait()
        except TimeoutError:
            raise CommandError(
                "the nodes did not come up in time", "their log lines above say why"
            ) from None

    async def _start(self, index: int, join: str = "") -> Child:
        port = 0 if self._ports_from is None else self._ports_from + 2 * index
        command = [
            sys.executable, "-m", "kvgossip", "agent", "--name", f"n{index + 1}", "--cluster",
            "demo", "--profile", "local",
            "--http", f"127.0.0.1:{port}", "--gossip", "127.0.0.1:0", "--free-port",
            "--stop-on-eof",
            "--log-level", self._log_level, "--output", "json", *(("--join", join) if join else ()),
        ]  # fmt: skip
        # Its own session: Ctrl-C reaches this process only, which then stops the children one way.
        # Should this process be killed, the pipe to their standard input closes, and they leave by
        # themselves.
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            limit=LINE_BYTES_MAX,
            start_new_session=True,
            env=_environment(),
        )
        child = Child(f"n{index + 1}", COLOURS[index % len(COLOURS)], process)
        self._children.append(child)
        for task in (self._follow_log(child), self._follow_output(child), self._follow_end(child)):
            self._keep(task)
        return child

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow_log(self, child: Child) -> None:
        assert child.process.stderr is not None
        async for line in child.process.stderr:
            self._print(child, line.decode(errors="replace").rstrip("\n"))

    async def _follow_output(self, child: Child) -> None:
        assert child.process.stdout is not None
        async for line in child.process.stdout:
            try:
                child.heard(json.loads(line))
            except ValueError:
                self._print(child, line.decode(errors="replace").rstrip("\n"))

    async def _follow_end(self, child: Child) -> None:
        code = await child.process.wait()
        if self._stop.is_set():
            return
        reason = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._print(child, f"THIS NODE HAS ENDED ({reason})", "bold")
        if not child.settled.is_set():
            self._fail(f"{child.name} did not come up")
        elif all(other.process.returncode is not None for other in self._children):
            self._fail("all nodes have ended")

    def _fail(self, failure: str) -> None:
        self._failure = self._failure or failure
        self._stop.set()

    def _print(self, child: Child, line: str, style: str = "") -> None:
        self._console.print(
            Text(f"{child.name} | ", style=child.colour).append(
                printable(line), style=style or "default"
            )
        )

    def _print_usage(self) -> None:
        first, last = self._children[0], self._children[-1]
        print(f"\n{self._nodes} nodes serve:")
        for child in self._children:
            print(f"  {child.name}  {child.url}")
        print("Write on one, read on another:")
        print(f"  curl -X PUT --data-binary hello {first.url}/kv/greeting")
        print(f"  curl {last.url}/kv/greeting")
        print(OPEN)
        print("Ctrl-C stops all.\n", flush=True)

    async def _stop_all(self) -> None:
        """Asks every agent to leave, waits for it, and kills each one that does not end."""
        self._stop.set()
        running = [child for child in self._children if child.process.returncode is None]
        for child in running:
            child.process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await asyncio.gather(*(child.process.wait() for child in running))
        except TimeoutError:
            for child in running:
                if child.process.returncode is None:
                    child.process.kill()
        await asyncio.gather(*self._tasks)


def _environment() -> dict[str, str]:
    """Ours, without the variables that would configure the agents behind the demo's back."""
    return {name: value for name, value in os.environ.items() if not name.startswith("KVGOSSIP_")}

"""Agents: real processes that can be started, stopped, killed and asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .http_client import ANSWER_S, HTTP_PORT, Answer, HttpClient, NoAnswerError
from .machine import ROOT
from .namespace import Net

GOSSIP_PORT, WAN_PORT = 27481, 27483
JSON = {"Content-Type": "application/json"}


class Agent:
    """`life` counts its starts. `root`: the checkout that it runs, by default this one."""

    def __init__(
        self,
        net: Net,
        number: int,
        folder: Path,
        *,
        name: str = "",
        join: Sequence[str] = (),
        data: bool = True,
        data_dir: Path | None = None,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        profile: str = "local",
        root: Path = ROOT,
        log: Path | None = None,
    ) -> None:
        self.number, self.name = number, name or f"n{number}"
        self.host, self.namespace = net.host(number), net.namespace_of(number)
        self.join, self.data, self.args, self.env = list(join), data, list(args), dict(env or {})
        self.profile, self.root = profile, root
        self.data_dir = data_dir or folder / self.name
        self.log = log or folder / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.life, self.paused, self.started_s = 0, False, 0.0

    # -- the process ------------------------------------------------------------------------------

    def command(self) -> list[str]:
        words = ["ip", "netns", "exec", self.namespace, sys.executable, "-m", "kvgossip", "agent"]
        words += ["--name", self.name, "--cluster", "chaos", "--profile", self.profile]
        words += ["--http", f"{self.host}:{HTTP_PORT}", "--gossip", f"{self.host}:{GOSSIP_PORT}"]
        for address in self.join:
            words += ["--join", address]
        if self.data:
            words += ["--data-dir", str(self.data_dir)]
        return words + self.args

    def start(self, *extra: str) -> None:
        self.run([*self.command(), *extra])

    def run(self, command: Sequence[str], stdout: Path | None = None) -> None:
        """Starts a life with another command."""
        assert not self.runs, f"{self.name} runs"
        clean = {name: text for name, text in os.environ.items() if not name.startswith("KVGOSSIP")}
        paths = filter(None, (str(self.root), self.env.get("PYTHONPATH")))
        # those who ask have an address of the namespace; an older version does not know this one
        own = {"PYTHONPATH": os.pathsep.join(paths), "KVGOSSIP_OPEN_HTTP": "1"}
        with self.log.open("ab") as log, (stdout or self.log).open("ab") as out:
            self.process = subprocess.Popen(
                command,
                cwd=self.root,
                env={**clean, **self.env, **own},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
            )
        self.life += 1
        self.paused, self.started_s = False, time.monotonic()

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        return self.process.poll() if self.process is not None else None

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """As a crash: nobody hears of it. Harmless where it does not run."""
        if self.process is not None and self.runs:
            self.process.kill()
            self.process.wait()

    async def stop(self, patience_s: float = 20.0) -> int | None:
        """By SIGTERM. Returns its exit code; None where it had to be killed."""
        if self.paused:
            self.resume()
        assert self.process is not None
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self.process.wait, patience_s)
        code = self.exit_code
        self.kill()
        return code

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        self.signal(signal.SIGCONT)
        self.paused = False

    def restart(self) -> None:
        """A crash, and the same command again."""
        self.kill()
        self.start()

    def copy_data(self, target: Path) -> Path:
        shutil.copytree(self.data_dir, target)
        return target

    def replace_data(self, source: Path) -> None:
        """As a restore from a backup does."""
        shutil.rmtree(self.data_dir)
        shutil.move(source, self.data_dir)

    # -- what it is asked -------------------------------------------------------------------------

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout: float = ANSWER_S,
    ) -> Answer:
        """On a connection of its own. Raises NoAnswerError."""
        client = HttpClient(self)
        try:
            return await client.ask(method, path, body, headers, timeout)
        finally:
            client.close()

    async def put(
        self, key: str, value: bytes | str, query: str = "", timeout: float = ANSWER_S
    ) -> Answer:
        octets = value.encode() if isinstance(value, str) else value
        return await self.ask("PUT", f"/kv/{quote(key)}{query}", octets, timeout=timeout)

    async def delete(self, key: str, query: str = "", timeout: float = ANSWER_S) -> Answer:
        return await self.ask("DELETE", f"/kv/{quote(key)}{query}", timeout=timeout)

    async def get(self, key: str, timeout: float = ANSWER_S) -> Answer:
        return await self.ask("GET", f"/kv/{quote(key)}", timeout=timeout)

    async def post(self, path: str, document: object = None, timeout: float = 30.0) -> Answer:
        body = b"" if document is None else json.dumps(document).encode()
        return await self.ask("POST", path, body, JSON, timeout)

    async def batch(self, operations: list[dict[str, Any]]) -> Answer:
        return await self.post("/batch", {"operations": operations})

    async def status(self) -> dict[str, Any]:
        return dict((await self.ask("GET", "/status")).document)

    async def statistics(self, *words: str) -> dict[str, int]:
        """The counters that are not 0, and whose names contain one of the words."""
        counters = (await self.status())["statistics"]
        return {
            name: count
            for name, count in counters.items()
            if count and (not words or any(word in name for word in words))
        }

    async def member_list(self) -> list[dict[str, Any]]:
        return list((await self.ask("GET", "/members")).document["members"])

    async def members(self) -> dict[str, str]:
        """States by name."""
        return {each["name"]: each["state"] for each in await self.member_list()}

    async def doctor(self) -> dict[str, Any]:
        return dict((await self.post("/doctor")).document)

    async def quarantined(self) -> int:
        return len((await self.ask("GET", "/quarantine")).document["values"])

    async def ready(self) -> bool:
        try:
            return (await self.ask("GET", "/readyz", timeout=2.0)).status == 200
        except NoAnswerError:
            return False

    async def entries(self, prefix: str = "") -> dict[str, str]:
        """Versions by key. Raises NoAnswerError."""
        found: dict[str, str] = {}
        after, client = "", HttpClient(self)
        start = f"/kv?limit=1000&prefix={quote(prefix, safe='')}"
        try:
            while after is not None:
                answer = await client.ask("GET", f"{start}&after={quote(after, safe='')}")
                if answer.status != 200:
                    raise NoAnswerError(f"the list of {self.name} is {answer.status}")
                page = answer.document
                found.update((entry["key"], entry["version"]) for entry in page["entries"])
                after = page["after"]
        finally:
            client.close()
        return found

    # -- what is seen of it -----------------------------------------------------------------------

    def log_lines(self, *words: str) -> list[str]:
        """Those that contain one of the words, in any case."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return [line for line in lines if any(word.lower() in line.lower() for word in words)]

    def last_lines(self, count: int = 6) -> list[str]:
        return [line[:300] for line in self.log_lines("")[-count:]]

    def memory_kb(self) -> int:
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))

    def files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_s(self) -> float:
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:
            words = file.read().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

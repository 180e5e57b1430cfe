"""Datacenters as network namespaces of this machine, real agents in them, and a long way between
them (router.py)."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from .router import inside

ROOT = Path(__file__).resolve().parents[2]
DEVICE = "wan0"
HTTP_PORT = 7480
PATIENCE_S = 60.0
POLL_S = 0.05
# Failures are found sooner than an operator would want.
QUICK = {
    "KVGOSSIP_PROFILE": "local",
    "KVGOSSIP_PROBE_INTERVAL_S": "0.5",
    "KVGOSSIP_WAN_PARAMETERS": (
        "probe_interval_s=1, probe_timeout_s=0.6, suspicion_multiplier=2, "
        "suspicion_max_multiplier=2, "
        "gossip_interval_s=0.2, push_pull_interval_s=5, rumor_settling_s=1, join_retry_s=0.5"
    ),
}

T = TypeVar("T")


def missing() -> str:
    """Why there can be no namespaces here; empty if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "there is no `ip` command (Debian package iproute2)"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "there is no /dev/net/tun"
    probe = f"kvgossip-{secrets.token_hex(4)}"
    made = subprocess.run(
        ["ip", "netns", "add", probe], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        return f"`ip netns add` fails: {made.stderr.strip()}"
    _ip("netns", "del", probe)
    return ""


def eventually(what: str, probe: Callable[[], T]) -> T:
    """Ask until the answer is truthy, and return it. Fails with the last answer when patience
    ends."""
    begin_s, last = time.monotonic(), None
    while time.monotonic() - begin_s < PATIENCE_S:
        try:
            last = probe()
            if last:
                print(f"  {what}: {time.monotonic() - begin_s:.2f} s", flush=True)
                return last
        except (OSError, http.client.HTTPException) as error:
            last = error  # type: ignore[assignment]
        time.sleep(POLL_S)
    raise AssertionError(f"not within {PATIENCE_S} s: {what}; the last answer was {last}")


class Agent:
    """One agent at an address of a namespace. `wan`: its WAN arguments, none where it is no
    gateway."""

    def __init__(
        self, world: World, name: str, datacenter: str, host: str, join: str, wan: Sequence[str]
    ) -> None:
        self.name, self.datacenter, self.host = name, datacenter, host
        self._world, self._join, self._wan = world, join, wan
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            *(
                "ip",
                "netns",
                "exec",
                self._world.namespaces[self.datacenter],
                sys.executable,
                "-m",
                "kvgossip",
                "agent",
            ),
            *(
                "--name",
                self.name,
                "--datacenter",
                self.datacenter,
                "--cluster",
                "far",
                "--stop-on-eof",
            ),
            *(
                "--http",
                f"{self.host}:{HTTP_PORT}",
                "--gossip",
                self.host,
                # those who ask are at another address of this namespace
                "--open-http",
                *(("--join", self._join) if self._join else ()),
            ),
            *(("--gateway", "--wan", self.host, *self._wan) if self._wan else ()),
        ]
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith("KVGOSSIP_")
        }
        with self._world.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**clean, **QUICK},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """As a crash: nobody is told. Harmless when it does not run."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.communicate()
            self._process = None

    # -- what it says -----------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        link = http.client.HTTPConnection(self.host, HTTP_PORT, timeout=30)
        with inside(self._world.namespaces[self.datacenter]):
            link.sock = socket.create_connection((self.host, HTTP_PORT), timeout=30)
        try:
            link.request(method, path, body)
            answer = link.getresponse()
            return answer.status, answer.read()
        finally:
            link.close()

    def put(self, key: str, value: str) -> None:
        assert self.ask("PUT", f"/kv/{quote(key)}", value.encode())[0] == 200

    def delete(self, key: str) -> None:
        assert self.ask("DELETE", f"/kv/{quote(key)}")[0] == 200

    def get(self, key: str) -> str | None:
        status, body = self.ask("GET", f"/kv/{quote(key)}")
        assert status in (200, 404), body
        return body.decode() if status == 200 else None

    def is_ready(self) -> bool:
        return self.ask("GET", "/readyz")[0] == 200

    def status(self) -> Any:
        return json.loads(self.ask("GET", "/status")[1])

    def alive(self, pool: str) -> list[str]:
        """The names that it holds alive in a pool."""
        members = json.loads(self.ask("GET", "/members")[1])["members"]
        return [
            member["name"]
            for member in members
            if (member["pool"], member["state"]) == (pool, "alive")
        ]


class World:
    """`with` makes the namespaces, and removes them with everything in them."""

    def __init__(
        self, datacenters: Sequence[str], log: Path, *, delay_s: float, loss: float
    ) -> None:
        unique = secrets.token_hex(4)
        self.namespaces = {
            datacenter: f"kvgossip-{unique}-{datacenter}" for datacenter in datacenters
        }
        self.agents: dict[str, Agent] = {}
        self.log = log
        self._delay_s, self._loss = delay_s, loss
        self._router: subprocess.Popen[str] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> World:
        try:
            for number, namespace in enumerate(self.namespaces.values(), 1):
                self._stack.enter_context(_namespace(namespace, number))
            self._router = self._stack.enter_context(self._long_way())
            for number, namespace in enumerate(self.namespaces.values(), 1):
                _ip("-n", namespace, "link", "set", DEVICE, "up")
                _ip(
                    "-n",
                    namespace,
                    "route",
                    "add",
                    "10.77.0.0/16",
                    "dev",
                    DEVICE,
                    "src",
                    f"10.77.{number}.1",
                )
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def _long_way(self) -> Iterator[subprocess.Popen[str]]:
        command = [
            sys.executable,
            "-m",
            "tests.netns.router",
            *self.namespaces.values(),
            "--device",
            DEVICE,
        ]
        command += ["--delay", str(self._delay_s), "--loss", str(self._loss)]
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as router:
            try:
                assert router.stdout is not None
                assert router.stdout.readline() == "ready\n", "the router did not start"
                yield router
            finally:
                router.kill()

    def tell_router(self, order: str) -> None:
        assert self._router is not None
        assert self._router.stdin is not None
        print(order, file=self._router.stdin, flush=True)

    def add(
        self, name: str, datacenter: str, place: int, join: str = "", wan: Sequence[str] = ()
    ) -> Agent:
        """A new agent at the address of this place in its datacenter."""
        number = list(self.namespaces).index(datacenter) + 1
        agent = self.agents[name] = Agent(
            self, name, datacenter, f"10.77.{number}.{place}", join, wan
        )
        self._stack.callback(agent.kill)
        agent.start()
        return agent


@contextmanager
def _namespace(name: str, number: int) -> Iterator[None]:
    """A namespace whose own addresses are 10.77.NUMBER.1 to .3."""
    _ip("netns", "add", name)
    try:
        _ip("-n", name, "link", "set", "lo", "up")
        for place in range(1, 4):
            _ip("-n", name, "addr", "add", f"10.77.{number}.{place}/32", "dev", "lo")
        yield
    finally:
        _ip("netns", "del", name)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr.strip()}"

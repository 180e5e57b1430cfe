"""A namespace for each agent, and a process between them that delays, loses, doubles, reorders and
corrupts IP packets (packet_router.py)."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile

from .machine import ROOT, need_namespaces, need_tun, run
from .packet_router import DEVICE


class TunNet:
    """A context: the namespaces and the router go with it."""

    def __init__(self, count: int, seed: int = 1) -> None:
        self.count, self._token, self._seed = count, secrets.token_hex(3), seed
        self._router: subprocess.Popen[str] | None = None

    def __enter__(self) -> TunNet:
        need_namespaces()
        need_tun()
        numbers = range(1, self.count + 1)
        for number in numbers:
            name, address = self.namespace_of(number), f"{self.host(number)}/32"
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "-n", name, "addr", "add", address, "dev", "lo")
        self._start_router([self.namespace_of(number) for number in numbers])
        for number in numbers:
            name, way = self.namespace_of(number), ("dev", DEVICE, "src", self.host(number))
            run("ip", "-n", name, "link", "set", DEVICE, "up")
            run("ip", "-n", name, "route", "add", "10.88.0.0/24", *way)
        return self

    def _start_router(self, names: list[str]) -> None:
        command = [sys.executable, "-m", "tests.chaos.packet_router", str(self._seed), *names]
        log = os.path.join(tempfile.gettempdir(), f"kvgossip-chaos-router-{self._token}.log")
        with open(log, "w", encoding="utf-8") as errors:
            self._router = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self._router.stdout is not None
        if self._router.stdout.readline() != "ready\n":
            raise RuntimeError(f"the router of packets did not start, see {log}")

    def __exit__(self, *_: object) -> None:
        if self._router is not None:
            self._router.communicate(timeout=10)
        for number in range(1, self.count + 1):
            run("ip", "netns", "del", self.namespace_of(number), check=False)

    def namespace_of(self, number: int) -> str:
        return f"chaos-{self._token}-{number}"

    def host(self, number: int) -> str:
        return f"10.88.0.{number}"

    def weather(self, **faults: float) -> None:
        """On all ways; see `Way` of packet_router.py."""
        self._order({"all": 1, **faults})

    def way(self, source: int, target: int, **faults: float) -> None:
        """On the way from `source` to `target` alone."""
        self._order({"way": [source, target], **faults})

    def heal(self) -> None:
        self._order({"heal": 1})

    def cut(self, source: int, target: int) -> None:
        self.way(source, target, loss=1.0)

    def loss(self, share: float) -> None:
        self.weather(loss=share)

    def mtu(self, octets: int) -> None:
        for number in range(1, self.count + 1):
            name = self.namespace_of(number)
            run("ip", "-n", name, "link", "set", DEVICE, "mtu", str(octets))

    def _order(self, order: dict[str, object]) -> None:
        assert self._router is not None
        assert self._router.stdin is not None
        print(json.dumps(order), file=self._router.stdin, flush=True)

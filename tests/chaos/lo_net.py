"""One namespace, and an address on its `lo` for each agent; iptables cuts and loses."""

from __future__ import annotations

import secrets

from .machine import need_namespaces, run


class LoNet:
    """A context: the namespace goes with it."""

    def __init__(self, count: int) -> None:
        self.count, self.namespace = count, f"chaos-{secrets.token_hex(3)}"

    def __enter__(self) -> LoNet:
        need_namespaces()
        run("ip", "netns", "add", self.namespace)
        run("ip", "-n", self.namespace, "link", "set", "lo", "up")
        for number in range(1, self.count + 1):
            address = f"{self.host(number)}/32"
            run("ip", "-n", self.namespace, "addr", "add", address, "dev", "lo")
        self.heal()
        return self

    def __exit__(self, *_: object) -> None:
        run("ip", "netns", "del", self.namespace, check=False)

    def namespace_of(self, number: int) -> str:
        return self.namespace

    def host(self, number: int) -> str:
        return f"10.88.0.{number}"

    def heal(self) -> None:
        self._iptables("-F", "INPUT")
        # What an agent says to itself, and what clients ask it, passes always.
        for number in range(1, self.count + 1):
            host = self.host(number)
            self._iptables("-A", "INPUT", "-s", host, "-d", host, "-j", "ACCEPT")

    def cut(self, source: int, target: int) -> None:
        ends = ("-s", self.host(source), "-d", self.host(target))
        self._iptables("-A", "INPUT", *ends, "-j", "DROP")

    def loss(self, share: float) -> None:
        chance = ("-m", "statistic", "--mode", "random", "--probability", str(share))
        self._iptables("-A", "INPUT", *chance, "-j", "DROP")

    def drop_udp(self) -> None:
        self._iptables("-A", "INPUT", "-p", "udp", "-j", "DROP")

    def mtu(self, octets: int) -> None:
        run("ip", "-n", self.namespace, "link", "set", "lo", "mtu", str(octets))

    def _iptables(self, *words: str) -> None:
        run("ip", "netns", "exec", self.namespace, "iptables", "-w", *words)

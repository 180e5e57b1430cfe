"""Topology: what the worlds of all models have: nodes n0, n1, ... in datacenters, gateways between
these, one clock, and numbers for lives."""

from __future__ import annotations


class Topology:
    datacenters: int
    now: int
    sites: int

    def datacenter(self, name: str) -> int:
        return int(name[1:]) % self.datacenters

    def is_gateway(self, name: str) -> bool:
        return self.datacenters > 1 and int(name[1:]) < 2 * self.datacenters - 1

    def share_pool(self, a: str, b: str) -> bool:
        return self.datacenter(a) == self.datacenter(b) or (
            self.is_gateway(a) and self.is_gateway(b)
        )

    def clock(self) -> int:
        self.now += 1
        return self.now

    def new_site(self) -> int:
        self.sites += 1
        return self.sites

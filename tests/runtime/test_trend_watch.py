"""A node watches its own numbers and links: findings go to the doctor and /status, what is usual
outlives a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvgossip import Config, Node
from kvgossip.config import Address
from kvgossip.protocol.doctor.trend import Trend
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.runtime.trend_watch import CALM_S, TrendWatch


def config(data_dir: Path | None = None) -> Config:
    gossip = Address("127.0.0.1", 0)
    return Config(name="n1", gossip=gossip, data_dir=str(data_dir or ""), founding_s=0)


def watch_of(node: Node) -> TrendWatch:
    life = node._life
    assert life is not None
    return life.trends


async def test_what_is_found_is_in_the_status_and_the_doctor_names_the_node() -> None:
    async with Node(config(), found=True) as node:
        watch = watch_of(node)
        assert node.status()["trends"] == []
        watch.found = [Trend("link_slow", "the round trip to n2 is longer", ("n2",), 1, 16.0)]
        (trend,) = node.status()["trends"]
        assert trend == {
            "code": "link_slow",
            "text": "the round trip to n2 is longer",
            "peers": ["n2"],
            "since_ms": 1,
            "bound_s": 16.0,
            "in_s": None,
        }
        report = await node.doctor()
        found = {finding["code"]: finding for finding in report["findings"]}
        assert found["link_slow"]["members"] == ("n1",)
        assert found["link_slow"]["text"] == "n1: the round trip to n2 is longer"


async def test_what_is_usual_outlives_a_restart(tmp_path: Path) -> None:
    pytest.importorskip("rocksdict")
    async with Node(config(tmp_path), found=True) as node:
        watch = watch_of(node)
        baseline = watch.own.baselines["memory"]
        baseline.add(18.0, 0.0)
        baseline.add(18.0, 5.0)
        links = node._running.replica.pools.lan.membership.round_trips.links
        links.concluded("n1", 0.01, 0.0)
        usual = baseline.packed()
        row = links.kept()["n1"]
    async with Node(config(tmp_path)) as node:
        assert watch_of(node).own.baselines["memory"].packed() == usual
        links = node._running.replica.pools.lan.membership.round_trips.links
        assert links.kept() == {"n1": row}


async def test_a_node_takes_samples_of_itself_and_is_calm_a_minute_after_it_has_settled() -> None:
    async with Node(config(), found=True) as node:
        watch, now = watch_of(node), node._clocks()
        watch.look(now)
        watch.look(now._replace(monotonic_s=now.monotonic_s + CALM_S))
        assert watch.own.baselines["memory"].count == 1
        assert watch.own.baselines["waiting"].count == 1
        assert watch.found == []
        assert node.round_trip_to(node.members()[0], PoolKind.LAN)["phi"] is None

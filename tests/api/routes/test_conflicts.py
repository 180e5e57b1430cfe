"""/conflicts, and what watchers, /metrics and the history of a key say of one."""

from __future__ import annotations

from kvgossip.protocol.merging import Origin, Spread
from kvgossip.protocol.model.entry import version_of
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.runtime.node import Node
from tests.api.event_stream import ask, served, stream
from tests.protocol.net import record

FROM_B = Origin(Peer(PoolKind.LAN, "b"), Spread.NEXT_ROUND)
LOST, KEPT = record(b"lost", 1, 1 << 60, "text/plain"), record(b"kept", 2, 2 << 60)


def offer(node: Node, key: str, offered: bytes) -> None:
    """As if a peer had sent it."""
    driver = node._running
    now = driver.clocks()
    driver.replica.merging.merge(key, offered, now, FROM_B)
    driver.do(driver.replica.outbox.drain(), now)


async def test_a_conflict_reaches_those_who_ask_for_conflicts_and_is_listed_and_counted() -> None:
    lost = {"version": str(version_of(LOST)), "content_type": "text/plain", "bytes": 4}
    heard = {
        "key": "a/k",
        "version": str(version_of(KEPT)),
        "content_type": None,
        "bytes": 4,
        "value": "kept",
        "lost": {**lost, "value": "lost"},
    }
    async with served() as server, stream(server, conflicts="1", values="text") as watcher:
        node = server.node
        async with node.watch_conflicts("a/") as within, node.watch("a/") as changes:
            since = node.feed_of(within._queue.topic).cursor()
            offer(node, "b", KEPT)
            offer(node, "a/k", KEPT)
            # it came too late to change anything
            offer(node, "a/k", LOST)
            conflict = await anext(within)
            assert (conflict.lost.value, conflict.kept.value) == (b"lost", b"kept")
            assert (await anext(changes)).new.value == b"kept"
            assert changes.waiting == 0
        event = await watcher.event()
        assert event is not None
        assert event[::2] == ("conflict", heard)
        _, _, poll = await ask(server, f"poll=1&conflicts=1&prefix=a/&values=text&since={since}")
        assert poll["events"] == [{"event": "conflict", "cursor": event.id, **heard}]
        _, _, poll = await ask(server, f"poll=1&conflicts=1&prefix=c&timeout=0s&since={since}")
        assert poll["events"] == []

        listed = (await server.call("GET", "/conflicts?prefix=a/")).json["conflicts"]
        assert [each["key"] for each in listed] == ["a/k"]
        assert listed[0]["lost"].items() >= lost.items()
        assert listed[0]["kept"]["version"] == str(version_of(KEPT))
        assert (await server.call("GET", "/conflicts?prefix=b")).json == {"conflicts": []}
        earlier = await server.call("GET", f"/history/a/k?version={version_of(LOST)}")
        assert earlier.body == b"lost"
        metrics = (await server.call("GET", "/metrics")).body.decode()
        assert 'kvgossip_conflicts_total{segment="a"} 1.0' in metrics

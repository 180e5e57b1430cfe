"""The skeleton of gossip: rumor mongering and anti-entropy are two instances of it."""

from __future__ import annotations

from collections.abc import Iterable

from kvgossip.protocol.anti_entropy.initiator import Exchange
from kvgossip.protocol.model.gossip import ActiveSide
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.rumors.hot_list import HotRumor
from tests.protocol.net import at
from tests.protocol.rumors.test_mongering import replica_with


def test_both_mechanisms_select_a_peer_and_what_it_gets() -> None:
    replica = replica_with("b")
    pool = replica.pools.lan
    replica.put("k", b"v", at())
    mongering: ActiveSide[Iterable[HotRumor], list[HotRumor]] = pool.mongering
    anti_entropy: ActiveSide[Now, Exchange] = pool.exchanges
    (peer,) = mongering.select_peers(at())
    assert [peer] == anti_entropy.select_peers(at())
    assert [rumor.key for rumor in mongering.select_what(peer, pool.mongering.rumors.hot())] == [
        "k"
    ]
    session = anti_entropy.select_what(peer, at())
    assert session.peer == peer.name == "b"
    assert [type(question).__name__ for question in session.open(False, 0)] == ["Compare"]

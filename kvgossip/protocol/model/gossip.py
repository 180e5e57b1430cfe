"""Gossip: the skeleton of which rumor mongering and anti-entropy are two instances.

A node selects a peer, selects what to send, and sends it; the peer receives it, keeps the news in
it, and answers. The two mechanisms are those of Demers et al. 1987, section 1; the framework (peer
selection, data exchange, data processing) is that of Jelasity, "Gossip", in Self-organising
Software, 2011.

    step           of the framework   rumor mongering (rumors/)       anti-entropy (anti_entropy/)
    active side                       mongering.Mongering             scheduler.ExchangeScheduler
      select_peers   peer selection   random members, each gossip     a random member at the
                                      round; at once after a write    push-pull floor; at once one
                                                                      whose root has differed long
      select_what    data exchange    hot rumors that the peer is     the difference of the stores,
                                      not known to hold               which a session finds out
      send           data exchange    datagrams, or a burst           the questions of the session
    passive side                      responder.RumorResponder        responder.Responder
      on_...         data exchange    receives a packet               receives a question
      keep           data processing  merge; news spreads further     merge; news does not spread
      answer         data exchange    one bit a rumor: known?         what differs, or is lacking

Rumors are quick and may miss a node; anti-entropy is slow and misses none. In anti-entropy the
active side keeps, too, as its answers bring entries. Both mechanisms offer the entries that they
heard by the one MergePort (merging.py): an entry is merged in one way, whatever brought it.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.now import Now

Topic = TypeVar("Topic", contravariant=True)
What = TypeVar("What", covariant=True)


class ActiveSide(Protocol[Topic, What]):
    """The selecting steps, which both mechanisms have alike; each sends in its own way."""

    def select_peers(self, now: Now) -> list[Member]:
        """The members of a periodic round."""

    def select_what(self, peer: Member, topic: Topic) -> What:
        """The things that this peer gets. `topic`: the hot rumors that they are selected from, or
        the time at which the session begins."""

"""SurveyAnswers: by how many keys this node differs from one that asks, what its processes made of
a release, what it says of itself, what happened to a key, what clocks
show whom the asker cannot probe, and the answers of others."""

from __future__ import annotations

from kvgossip.protocol.anti_entropy.survey import measure, story_here
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.lag import FAR_MAX
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.outbox import SendPort
from kvgossip.protocol.pools.own_overview import OwnOverview
from kvgossip.protocol.pools.shared import Shared
from kvgossip.protocol.wire.clock_messages import AskClocks, ClocksHere
from kvgossip.protocol.wire.message import Measure, Measured
from kvgossip.protocol.wire.overview_messages import AskOverview, Overview
from kvgossip.protocol.wire.release_messages import AppliedHere, AskApplied
from kvgossip.protocol.wire.story_messages import AskStory, StoryHere


class SurveyAnswers:
    """`own_overview`: this node's own, in this pool. An answer counts from the member that was
    asked, over the link that was dialled there."""

    def __init__(
        self, own_overview: OwnOverview, kind: PoolKind, shared: Shared, send_port: SendPort
    ) -> None:
        self._table, self._own_overview = own_overview.membership.table, own_overview
        self._kind, self._send_port = kind, send_port
        self._store, self._surveys = shared.store, shared.surveys
        self._shell_report, self._story = shared.shell_report, shared.story
        self._outbox, self._lag, self._pools = shared.outbox, shared.lag, shared.pools

    def on_measure(self, question: Measure, arrival: Arrival) -> None:
        keys, precision = measure(self._store, question)
        answer = Measured(
            number=question.number,
            sender=self._table.me.name,
            root=self._store.digest.root,
            keys=keys,
            precision=precision,
        )
        self._send_port.send(answer, arrival.source, reliable=True)

    def on_measured(self, answer: Measured, arrival: Arrival) -> None:
        if self._table.speaks(answer.sender, arrival):
            self._surveys.answered(answer, Peer(self._kind, answer.sender))

    def on_ask_applied(self, question: AskApplied, arrival: Arrival) -> None:
        applied = self._shell_report.applied.under(question.prefix)
        answer = AppliedHere(question.number, self._table.me.name, applied)
        self._send_port.send(answer, arrival.source, reliable=True)

    def on_applied_here(self, answer: AppliedHere, arrival: Arrival) -> None:
        if self._table.speaks(answer.sender, arrival):
            self._surveys.applied(answer, Peer(self._kind, answer.sender))

    def on_ask_overview(self, question: AskOverview, arrival: Arrival) -> None:
        # how it is set up is no matter of strangers
        setup = question.setup and question.sender in self._table.members
        answer = self._own_overview.at(question.number, arrival.now, setup=setup)
        self._send_port.send(answer, arrival.source, reliable=True)

    def on_overview(self, answer: Overview, arrival: Arrival) -> None:
        if self._table.speaks(answer.sender, arrival):
            self._surveys.overview(answer, Peer(self._kind, answer.sender))

    def on_ask_story(self, question: AskStory, arrival: Arrival) -> None:
        # what happens to keys, and which are looked at, is no matter of strangers
        if question.sender not in self._table.members:
            return
        if question.watch is not None:
            self._outbox.persist(self._story.order(question.watch, arrival.now))
        me, now = self._table.me.name, arrival.now
        answer = story_here(question.number, me, question.key, self._story, self._store, now)
        self._send_port.send(answer, arrival.source, reliable=True)

    def on_story_here(self, answer: StoryHere, arrival: Arrival) -> None:
        if self._table.speaks(answer.sender, arrival):
            self._surveys.story(answer, Peer(self._kind, answer.sender))

    def on_ask_clocks(self, question: AskClocks, arrival: Arrival) -> None:
        """Of a gateway: it asks for those of the other pool."""
        other, now = self._pools.beside(self._kind), arrival.now
        if question.sender not in self._table.members or other is None:
            return
        clocks = self._lag.clocks_of(other.membership.members.values(), now)
        if self._kind is PoolKind.LAN:
            clocks += self._lag.far_clocks(now)
        answer = ClocksHere(self._table.me.name, tuple(clocks[:FAR_MAX]))
        self._send_port.send(answer, arrival.source, reliable=True)

    def on_clocks_here(self, answer: ClocksHere, arrival: Arrival) -> None:
        known = self._table.members.get(answer.sender)
        if known is not None and known.gateway and self._table.speaks(answer.sender, arrival):
            self._lag.heard(answer.sender, answer.clocks, arrival.now)

"""SurveyAnswers: by how many keys this node differs from one that asks, and the answers of
others."""

from __future__ import annotations

from kvgossip.protocol.anti_entropy.survey import Surveys, measure
from kvgossip.protocol.membership.member_table import MemberTable
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.outbox import SendPort
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.wire.message import Measure, Measured


class SurveyAnswers:
    """`table`: the members of this pool."""

    def __init__(
        self,
        table: MemberTable,
        kind: PoolKind,
        store: Store,
        surveys: Surveys,
        send_port: SendPort,
    ) -> None:
        self._table, self._kind, self._store = table, kind, store
        self._surveys, self._send_port = surveys, send_port

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
        """Counts from the member that was asked, over the link that was dialled there."""
        if self._table.speaks(answer.sender, arrival):
            self._surveys.answered(answer, Peer(self._kind, answer.sender))

"""Dispatch: the messages of a frame go to the mechanisms that they are for.

    frame --> gate --> blocklist --> handler(message, arrival) of a mechanism

Laws
- A stranger is dropped by the gate (ingress/gate.py), a member that the operator has blocked by the
  blocklist; neither gets anything from here but a refusal.
- A frame may ask one question, and one that costs much to answer only over a link: else small
  frames would ask for many large ones. The class of a message says whether it is a question.
- Whatever a frame holds, it raises nothing: faults are counted by reason. And it is no more than a
  little work: see ingress/budget.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from kvgossip.config import Address
from kvgossip.errors import RemoteError
from kvgossip.protocol.doctor.examination import Doctor
from kvgossip.protocol.ingress.blocklist import Blocklist
from kvgossip.protocol.ingress.budget import affordable
from kvgossip.protocol.ingress.gate import Gate
from kvgossip.protocol.membership.join_handshake import JoinHandshake
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.rumors.mongering import Mongering
from kvgossip.protocol.wire.message import (
    Bundle,
    Fetch,
    Gossip,
    Join,
    JoinReply,
    Message,
    Notice,
    Refused,
    Rumor,
)
from kvgossip.protocol.wire.unit import BAD_MEMBER, TOO_MUCH

Handler = Callable[[Any, Arrival], None]


class JoiningPort(Protocol):
    """How this node enters the pool, and how others do."""

    def on_join(
        self, message: Join | JoinReply, members: list[Member], arrival: Arrival
    ) -> None: ...

    def refused(self, text: str, arrival: Arrival) -> None:
        """Somebody says no."""


class Dispatch:
    """`handlers`: by the type of the message. Gossip goes with its rumors to mongering, a join with
    its members to `joining`; refusals are handled here. `sealed`: frames are."""

    def __init__(
        self,
        handlers: Mapping[type, Handler],
        joining: JoiningPort,
        *,
        gate: Gate,
        blocklist: Blocklist,
        membership: Membership,
        mongering: Mongering,
        join_handshake: JoinHandshake,
        doctor: Doctor,
        sealed: bool,
        counters: Counter[str],
    ) -> None:
        self._handlers: dict[type, Handler] = {**handlers, Refused: self._on_refused}
        self._joining = joining
        self._gate, self._blocklist, self._membership = gate, blocklist, membership
        self._mongering, self._join_handshake, self._doctor = mongering, join_handshake, doctor
        self._sealed, self._counters = sealed, counters

    def receive(self, data: bytes, arrival: Arrival) -> None:
        """Handle one frame."""
        self._counters["frames_received"] += 1
        self._counters["bytes_received"] += len(data)
        if arrival.here:
            self._membership.own_host.ended(arrival.here)
        blocks = bool(self._blocklist)
        if blocks and self._blocklist.covers_address(arrival.source):
            self._counters["frames_dropped.blocked"] += 1
            return
        opened = self._gate.open(data, arrival)
        if opened is None:
            return
        taken = affordable(opened.messages)
        if len(taken) < len(opened.messages):
            opened.faults.extend([TOO_MUCH] * (len(opened.messages) - len(taken)))
        for reason in opened.faults:
            self._counters[f"units_dropped.{reason}"] += 1
        if not self._gate.has_opened:
            self._refused_in_clear(taken, arrival)
            return
        messages = self._admitted(taken, arrival.source) if blocks else taken
        if self._membership.table.leaving:
            # a peer that heard of a large entry in the farewell may still fetch its body; all else
            # comes too late
            messages = [message for message in messages if isinstance(message, Fetch)]
        # a record of a member that cannot be read does not shift the places of rumors
        whole = not opened.faults or all(reason == BAD_MEMBER for reason in opened.faults)
        self._dispatch(messages, whole, arrival)

    def _admitted(
        self, messages: Sequence[Message | Member], source: Address
    ) -> Sequence[Message | Member]:
        admitted = self._blocklist.admitted(messages, source)
        if admitted is None:
            self._counters["frames_dropped.blocked"] += 1
        return admitted or []

    def _dispatch(
        self, messages: Sequence[Message | Member], whole: bool, arrival: Arrival
    ) -> None:
        gossip: Gossip | None = None
        rumors: list[Rumor | Notice | Bundle] = []
        questions = 0
        for place, message in enumerate(messages):
            if message.question:
                questions += 1
                if questions > 1 or (message.needs_link and not arrival.reliable):
                    self._counters["units_dropped.unexpected_question"] += 1
                    continue
            if isinstance(message, (Rumor, Notice)) or (
                gossip is not None and isinstance(message, Bundle)
            ):
                rumors.append(message)
            elif isinstance(message, Gossip):
                gossip = message
            elif isinstance(message, (Join, JoinReply)):
                members = [other for other in messages[place + 1 :] if isinstance(other, Member)]
                self._joining.on_join(message, members, arrival)
                return
            else:
                try:
                    self._handlers[type(message)](message, arrival)
                except RemoteError as fault:
                    self._counters[f"units_dropped.{fault.reason}"] += 1
        if gossip is not None:
            self._mongering.responder.on_gossip(gossip, rumors, whole, arrival)

    # -- refusals ---------------------------------------------------------------------------------

    def _refused_in_clear(self, messages: Iterable[Message | Member], arrival: Arrival) -> None:
        """Anybody may have written it. If frames are sealed, a member that takes us in all the same
        is still believed."""
        for message in messages:
            if isinstance(message, Refused):
                text = self._gate.heard(message, arrival)
                self._doctor.refused(arrival.source, text)
                self._joining.refused(text, arrival)
                if arrival.reliable:
                    self._join_handshake.failed(arrival.source, text, final=not self._sealed)

    def _on_refused(self, refusal: Refused, arrival: Arrival) -> None:
        text = self._gate.heard(refusal, arrival)
        self._doctor.refused(arrival.source, text)
        self._joining.refused(text, arrival)
        self._join_handshake.failed(arrival.source, text)

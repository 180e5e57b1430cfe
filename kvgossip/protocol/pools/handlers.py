"""Handlers: which mechanism handles which message of a pool."""

from __future__ import annotations

from kvgossip.protocol.acks.inquiry import VersionQueries
from kvgossip.protocol.anti_entropy.scheduler import Answer, ExchangeScheduler
from kvgossip.protocol.doctor.examination import Doctor
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.pools.dispatch import Handler
from kvgossip.protocol.pools.probe_answers import ProbeAnswers
from kvgossip.protocol.pools.shared import Shared
from kvgossip.protocol.pools.survey_answers import SurveyAnswers
from kvgossip.protocol.rumors.mongering import Mongering
from kvgossip.protocol.wire.clock_messages import AskClocks, ClocksHere
from kvgossip.protocol.wire.exchange_messages import (
    Compare,
    Conclude,
    Concluded,
    Decoded,
    Differ,
    Entries,
    Leaves,
    Merged,
    OtherPositions,
    Push,
    Sketch,
    Symbols,
    Want,
)
from kvgossip.protocol.wire.message import (
    Ack,
    Bodies,
    Bundle,
    Busy,
    Condition,
    Confirm,
    Enquire,
    Examine,
    Feedback,
    Fetch,
    KeyringOrder,
    KeyringReport,
    Measure,
    Measured,
    Nack,
    Ping,
    PingRequest,
    Prune,
    Pull,
    Sights,
)
from kvgossip.protocol.wire.overview_messages import AskOverview, Overview
from kvgossip.protocol.wire.release_messages import AppliedHere, AskApplied
from kvgossip.protocol.wire.story_messages import AskStory, StoryHere


def handlers_of(
    kind: PoolKind,
    *,
    probe_answers: ProbeAnswers,
    membership: Membership,
    mongering: Mongering,
    version_queries: VersionQueries,
    exchanges: ExchangeScheduler,
    doctor: Doctor,
    survey_answers: SurveyAnswers,
    shared: Shared,
) -> dict[type, Handler]:
    """By the type of the message. Refusals, and what is handled as a whole frame (gossip with its
    rumors, joins with their members), are the matter of dispatch.py."""
    inspections, key_rotation = shared.inspections, shared.key_rotation
    handlers: dict[type, Handler] = {
        Ping: probe_answers.on_ping,
        Ack: probe_answers.on_ack,
        Nack: membership.probing.on_nack,
        PingRequest: membership.probing.on_ping_request,
        Prune: membership.on_prune,
        Member: membership.on_member,
        Feedback: mongering.on_feedback,
        Busy: mongering.on_busy,
        Pull: mongering.on_pull,
        Fetch: mongering.fetching.on_fetch,
        Bodies: mongering.fetching.on_bodies,
        Bundle: mongering.fetching.on_bundle,
        Enquire: version_queries.on_enquire,
        Confirm: version_queries.on_confirm,
        Examine: doctor.on_examine,
        Condition: doctor.on_condition,
        Sights: doctor.on_sights,
        Measure: survey_answers.on_measure,
        Measured: survey_answers.on_measured,
        AskApplied: survey_answers.on_ask_applied,
        AppliedHere: survey_answers.on_applied_here,
        AskOverview: survey_answers.on_ask_overview,
        Overview: survey_answers.on_overview,
        AskStory: survey_answers.on_ask_story,
        StoryHere: survey_answers.on_story_here,
        AskClocks: survey_answers.on_ask_clocks,
        ClocksHere: survey_answers.on_clocks_here,
        KeyringOrder: lambda order, arrival: key_rotation.on_order(order, arrival, kind),
        KeyringReport: lambda report, arrival: key_rotation.on_report(report, arrival, kind),
    }

    def on_answer(answer: Answer, arrival: Arrival) -> None:
        if isinstance(answer, (Merged, Concluded)) or not inspections.heard(answer, arrival):
            exchanges.on_answer(answer, arrival)

    def on_other_positions(answer: OtherPositions, arrival: Arrival) -> None:
        inspections.declined(answer, arrival)
        probe_answers.knows_more(exchanges.declined(answer, arrival.now), arrival.now)

    questions = (Sketch, Compare, Leaves, Want, Push, Conclude)
    answers = (Decoded, Symbols, Differ, Entries, Merged, Concluded)
    handlers[OtherPositions] = on_other_positions
    handlers |= dict.fromkeys(questions, exchanges.responder.on_question)
    return handlers | dict.fromkeys(answers, on_answer)

"""Outcome: what became of a release, by the answers of all members."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from msgspec import Struct

from kvgossip.releases.answers import (
    NodeApplied,
    Survey,
)
from kvgossip.releases.place import Place


class Outcome(Struct, frozen=True):
    """What became of a release, by the names of members. `applied`: all processes there. `refused`:
    (member, key, reason). `silent`: no answer, or none yet of all its processes."""

    applied: list[str]
    refused: list[tuple[str, str, str]]
    silent: list[str]


class MemberState(Struct, frozen=True):
    """What one member made of the release that it is to have; `why` in words."""

    node: str
    release: str
    state: Literal["applied", "refused", "waiting", "silent", "unused"]
    why: str


def outcome_of(survey: Survey, release: str, hits: Sequence[str]) -> Outcome:
    """What those in `hits` made of this release."""
    states = [
        _state(node, release, _answers_of(survey, node), node in survey.silent) for node in hits
    ]
    return Outcome(
        applied=[each.node for each in states if each.state == "applied"],
        refused=[
            (answer.node, key, reason)
            for answer in survey.answers
            if answer.release == release and answer.node in hits
            for key, reason in answer.refused
        ],
        silent=[each.node for each in states if each.state in ("waiting", "silent")],
    )


def states_of(survey: Survey, wanted: Callable[[Place], str]) -> list[MemberState]:
    """Of all members, by name. `wanted`: the release that a member is to have."""
    return [
        _state(each.name, wanted(each), _answers_of(survey, each.name), each.name in survey.silent)
        for each in sorted(survey.members)
    ]


def _answers_of(survey: Survey, node: str) -> list[NodeApplied]:
    return [each for each in survey.answers if each.node == node]


def _state(node: str, release: str, answers: Iterable[NodeApplied], is_silent: bool) -> MemberState:
    answers = list(answers)
    refused = [pair for each in answers if each.release == release for pair in each.refused]
    processes = sum(each.processes for each in answers if each.release == release)
    others = [each for each in answers if each.release != release]
    if is_silent:
        return MemberState(node, release, "silent", "no answer")
    if refused:
        return MemberState(node, release, "refused", "; ".join(map(": ".join, refused)))
    if others:
        what = ", ".join(each.release or "loose keys" for each in others)
        return MemberState(node, release, "waiting", f"still has {what}")
    if not processes:
        return MemberState(node, release, "unused", "no process there uses this prefix")
    return MemberState(node, release, "applied", f"{processes} process{'es' * (processes > 1)}")

"""AppliedSurveys: what the processes of all members made of the releases under a prefix.

Each process tells its member, as often as it takes or refuses a release; a survey asks all members,
a gateway those of the WAN pool too. Nothing of it is written anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable

from kvgossip.protocol.acks.applied import Report
from kvgossip.protocol.wire.release_messages import AppliedBy
from kvgossip.releases.answers import (
    Applied,
    NodeApplied,
    Survey,
)
from kvgossip.releases.place import Place
from kvgossip.runtime.driver import Driver


class AppliedSurveys:
    """Of one life of a node."""

    def __init__(self, driver: Driver) -> None:
        self._callers, self._replica = driver.callers, driver.replica

    def tell(self, applied: Iterable[Applied]) -> None:
        """From now on this is what all processes of this member and its followers made of releases,
        each of what it reads: the answer to surveys."""
        self._replica.shell_report.applied.tell(
            Report(each.prefix, each.release, each.refused) for each in applied
        )

    async def survey(self, prefix: str, timeout_s: float) -> Survey:
        """The answers within this time, of this node too. Raises OverloadedError."""
        replica, me = self._replica, self._replica.config
        asked = [Place(member.name, member.zone) for _, member in replica.pools.surveyed()]
        answers = await self._callers.survey_applied(prefix, timeout_s)
        answered = {peer.name: answer.applied for peer, answer in answers.items()}
        answered[me.name] = replica.shell_report.applied.under(prefix)
        return Survey(
            answers=tuple(
                each for name in sorted(answered) for each in _of_node(name, answered[name])
            ),
            silent=tuple(sorted(each.name for each in asked if each.name not in answered)),
            members=tuple(sorted([Place(me.name, me.zone), *asked])),
        )


def _of_node(name: str, applied: Iterable[AppliedBy]) -> list[NodeApplied]:
    return [NodeApplied(name, each.release, each.processes, each.refused) for each in applied]

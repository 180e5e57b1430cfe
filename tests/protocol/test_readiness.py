"""Readiness: whoever has a reason for which a node should not be asked is heard by all who want to
know."""

from __future__ import annotations

from kvgossip.protocol.doctor.diagnosis import diagnose
from kvgossip.protocol.effect import Examined
from kvgossip.protocol.readiness import NOT_SETTLED, Readiness, Reason
from tests.protocol.net import Network, at, make_replica

LATE = Reason("late", "it is late", "wait")


def test_a_node_is_ready_while_nobody_has_a_reason() -> None:
    readiness, reasons = Readiness(), [LATE]
    assert readiness.reasons(at()) == []
    readiness.add(lambda now: reasons)
    readiness.add(lambda now: [])
    assert readiness.reasons(at()) == [LATE]
    reasons.clear()
    assert readiness.reasons(at()) == []


def test_a_node_that_waits_for_its_cluster_says_so() -> None:
    replica = make_replica("a", join=("10.0.0.9:7481",))
    assert [reason.code for reason in replica.readiness.reasons(at())] == [NOT_SETTLED]
    replica.settle(at())
    assert replica.readiness.reasons(at()) == []


def test_the_doctor_of_every_member_finds_the_reasons_of_each() -> None:
    net = Network()
    net.cluster("a b")
    net.replicas["b"].readiness.add(lambda now: [LATE])
    net.perform("a", net.replicas["a"].examine(net.now("a")))
    net.run(5.0)
    (report,) = [effect.report for effect in net.effects["a"] if isinstance(effect, Examined)]
    (finding,) = diagnose(report)
    assert (finding.code, finding.members) == ("late", ("b",))
    assert finding.text == 'b is not ready: "it is late: wait"'

"""KeyRotation: keys are replaced on all nodes while they run, in no order is anybody shut out, and who
was off is told."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from kvgossip.config import Config
from kvgossip.errors import KeyringError
from kvgossip.protocol.effect import KeyringChanged, KeyringReported
from kvgossip.protocol.key_rotation import PATIENCE_S, ids_of, parse_order
from kvgossip.protocol.model.member import MemberState
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.wire.frame import Framing, frame_bytes_max
from kvgossip.protocol.wire.keyring import Keyring, key_id
from kvgossip.protocol.wire.message import Holding, KeyringAction, KeyringOrder, KeyringReport
from kvgossip.protocol.wire.unit import encode
from tests.protocol.net import STRANGER, Network, address_of, at, logs, make_replica, sends

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
OLD_ID, NEW_ID = key_id(OLD), key_id(NEW)
SEALED: dict[str, Any] = {"keyring": (OLD.hex(),)}
SITES = itertools.count(99)
PLANS = {"install": NEW, "use": bytes.fromhex(NEW_ID), "remove": bytes.fromhex(OLD_ID)}


def order(net: Network, name: str, action: str, key: bytes = b"") -> KeyringReported:
    """What this node's operator is told in the end."""
    net.effects[name].clear()
    net.perform(
        name, net.replicas[name].rotate(7, KeyringAction[action.upper()], key, net.now(name))
    )
    net.until(lambda: bool(told(net, name)))
    (result,) = told(net, name)
    assert result.ticket == 7
    return result


def told(net: Network, name: str) -> list[KeyringReported]:
    return [effect for effect in net.effects[name] if isinstance(effect, KeyringReported)]


def keys(result: KeyringReported) -> dict[str, list[str]]:
    return {held.name: ids_of(held) for held in result.found}


def rings(net: Network) -> dict[str, list[str]]:
    """What each node really has."""
    return {
        name: replica.keyring.ids
        for name, replica in net.replicas.items()
        if replica.keyring is not None
    }


def two_datacenters(net: Network) -> None:
    """Two gateways in each, and one node behind them."""
    wan = "10.0.0.1:7483"
    for place, (name, datacenter) in enumerate(
        [("g1", "x"), ("g2", "x"), ("p", "x"), ("h1", "y"), ("h2", "y"), ("q", "y")]
    ):
        founder = address_of(0 if datacenter == "x" else 3)
        more: dict[str, Any] = (
            {}
            if name in ("p", "q")
            else {"gateway": True, "join_wan": () if name == "g1" else (wan,)}
        )
        net.add(
            name,
            place,
            datacenter=datacenter,
            join=() if name in ("g1", "h1") else (str(founder),),
            **more,
            **SEALED,
        )
    net.until(lambda: all(replica.settled for replica in net.replicas.values()))
    net.until(
        lambda: all(
            len(net.replicas[name].members(PoolKind.WAN)) == 4 for name in ("g1", "g2", "h1", "h2")
        )
    )
    net.until(lambda: all(len(replica.members()) == 3 for replica in net.replicas.values()))


def test_a_key_is_replaced_on_all_nodes_and_no_write_is_lost_meanwhile() -> None:
    net = Network()
    net.cluster("a b c", **SEALED)
    written = 0
    for name, (action, key) in zip("abc", PLANS.items(), strict=True):
        for other in "abc":
            net.put(other, f"{action} {other}", b"before")
            written += 1
        result = order(net, name, action, key)
        assert result.objection == ""
        assert [held.problem for held in result.found] == ["", "", ""]
        assert keys(result) == rings(net)
    assert rings(net) == {name: [NEW_ID] for name in "abc"}
    net.until(net.converged)
    assert len(net.replicas["c"].store) == written
    assert all(
        replica.statistics().get("frames_dropped.unknown_key", 0) == 0
        for replica in net.replicas.values()
    )


def test_every_change_is_handed_to_the_driver_and_what_is_no_change_is_not() -> None:
    net = Network()
    net.cluster("a b", **SEALED)
    for _ in range(2):
        net.effects["b"].clear()
        order(net, "a", "install", NEW)
        changes = [effect.keys for effect in net.effects["b"] if isinstance(effect, KeyringChanged)]
        assert changes == ([(OLD, NEW)] if not _ else [])


def test_a_driver_that_could_not_keep_the_keys_says_why_and_every_list_shows_it() -> None:
    net = Network()
    net.cluster("a b", **SEALED)
    problem = "cannot write its keyring file"
    for expected in (problem, ""):
        net.perform("b", net.replicas["b"].keyring_kept(expected, net.now("b")))
        assert {held.name: held.problem for held in order(net, "a", "list").found} == {
            "a": "",
            "b": expected,
        }


def test_an_order_reaches_all_nodes_of_all_datacenters_from_any_one() -> None:
    net = Network()
    two_datacenters(net)
    for name, (action, key) in zip(("p", "h2", "q"), PLANS.items(), strict=True):
        result = order(net, name, action, key)
        assert result.objection == ""
        assert keys(result) == rings(net)
        assert [(held.datacenter, held.name) for held in result.found] == [
            *(("x", one) for one in ("g1", "g2", "p")),
            *(("y", one) for one in ("h1", "h2", "q")),
        ]
    assert set(map(tuple, rings(net).values())) == {(NEW_ID,)}


def test_use_is_refused_while_an_alive_member_lacks_the_key_and_nothing_changes() -> None:
    net = Network()
    net.cluster("a b c", **SEALED)
    for name in "ab":
        replica = net.replicas[name]
        assert replica.keyring is not None
        replica.keyring.install(NEW)
    result = order(net, "a", "use", bytes.fromhex(NEW_ID))
    assert result.objection == f"not every node has the key {NEW_ID}: c lack it"
    assert {ring[0] for ring in rings(net).values()} == {OLD_ID}


def test_remove_is_refused_while_the_key_seals_anywhere() -> None:
    net = Network()
    net.cluster("a b", **SEALED)
    order(net, "a", "install", NEW)
    replica = net.replicas["a"]
    assert replica.keyring is not None
    replica.keyring.use(NEW_ID)
    assert (
        order(net, "a", "remove", bytes.fromhex(OLD_ID)).objection
        == f"the key {OLD_ID} is the primary one of b"
    )
    assert (
        order(net, "b", "remove", bytes.fromhex(NEW_ID)).objection
        == f"the key {NEW_ID} is the primary one of a"
    )
    assert rings(net) == {"a": [NEW_ID, OLD_ID], "b": [OLD_ID, NEW_ID]}


@pytest.mark.parametrize("action", ["use", "remove"])
def test_while_a_member_does_not_answer_no_key_is_used_or_removed(action: str) -> None:
    net = Network()
    net.cluster("a b c", probe_interval_s=60.0, **SEALED)
    order(net, "a", "install", NEW)
    net.partition("c", "a b")
    result = order(net, "a", action, bytes.fromhex(NEW_ID))
    assert result.objection == "c did not answer, and may be shut out"
    assert all(ring == [OLD_ID, NEW_ID] for ring in rings(net).values())


def test_an_installation_tells_who_did_not_answer_and_may_be_repeated() -> None:
    net = Network()
    net.cluster("a b c", probe_interval_s=60.0, **SEALED)
    net.passes = lambda frm, to, reliable: not (reliable and "c" in (frm, to))
    result = order(net, "a", "install", NEW)
    assert [(held.name, held.answered, held.problem) for held in result.found if held.problem] == [
        ("c", False, "did not answer")
    ]
    net.passes = lambda frm, to, reliable: True
    assert not any(held.problem for held in order(net, "b", "install", NEW).found)
    assert rings(net) == {name: [OLD_ID, NEW_ID] for name in "abc"}


def test_who_is_silent_is_waited_for_and_no_longer_than_that() -> None:
    net = Network()
    two_datacenters(net)
    crashed = net.replicas["q"]
    receive = crashed.receive
    crashed.receive = lambda *arguments, reliable=False, **named: (  # type: ignore[method-assign]
        [] if reliable else receive(*arguments, **named)
    )
    began_s = net.time_s
    result = order(net, "p", "list")
    assert [held.name for held in result.found if not held.answered] == ["q"]
    assert net.time_s - began_s < PATIENCE_S[-1]


def test_a_node_whose_keyring_is_full_says_so() -> None:
    net = Network()
    net.cluster("a b", **SEALED)
    replica = net.replicas["b"]
    assert replica.keyring is not None
    for number in range(15):
        replica.keyring.install(bytes((number,)) * 32)
    result = order(net, "a", "install", NEW)
    assert [(held.name, "16 keys already" in held.problem) for held in result.found] == [
        ("a", False),
        ("b", True),
    ]


def test_a_node_without_a_keyring_says_how_to_get_one() -> None:
    with pytest.raises(KeyringError, match="not sealed") as caught:
        make_replica("a").rotate(1, KeyringAction.LIST, b"", at())
    assert "keygen" in caught.value.hint


@pytest.mark.parametrize(
    ("action", "key"),
    [
        ("burn", ""),
        ("list", "00"),
        ("install", "00"),
        ("use", ""),
        ("use", OLD.hex()),
        ("remove", "zz"),
        ("use", "ü"),
    ],
)
def test_what_is_no_order_is_refused_and_not_shown(action: str, key: str) -> None:
    with pytest.raises(KeyringError) as caught:
        parse_order(action, key)
    assert OLD.hex() not in str(caught.value)


# -- hostile orders ------------------------------------------------------------------------------


def sealed_by_a_member(*told: KeyringOrder | KeyringReport) -> bytes:
    framing = Framing("default", "lan:dc1", frame_bytes_max(Config()))
    framing.seal_with(Keyring([OLD]), next(SITES), 1, 10)
    return framing.frame(map(encode, told), reliable=True)


def test_an_order_for_another_life_is_worth_nothing() -> None:
    replica = make_replica("a", **SEALED)
    wrong = KeyringOrder(1, replica.site ^ 1, 0, KeyringAction.INSTALL, NEW)
    assert replica.receive(sealed_by_a_member(wrong), STRANGER, at(), reliable=True) == []
    assert replica.keyring is not None
    assert replica.keyring.ids == [OLD_ID]
    assert replica.statistics()["keyring_orders_refused"] == 1


def test_an_order_where_nothing_is_sealed_is_worth_nothing() -> None:
    replica = make_replica("a")
    data = Framing("default", "lan:dc1", 2**20).frame(
        [encode(KeyringOrder(1, replica.site, 2, KeyringAction.INSTALL, NEW))]
    )
    assert replica.receive(data, STRANGER, at(), reliable=True) == []
    assert replica.keyring is None


def test_an_order_is_carried_out_once_and_answered_every_time() -> None:
    replica = make_replica("a", **SEALED)
    assert replica.keyring is not None
    install = KeyringOrder(1, replica.site, 0, KeyringAction.INSTALL, NEW)
    for _ in range(2):
        effects = replica.receive(sealed_by_a_member(install), STRANGER, at(), reliable=True)
        assert len(sends(effects)) == 1
        replica.keyring.remove(NEW_ID)
    assert replica.keyring.ids == [OLD_ID]


def test_a_report_that_nobody_asked_for_and_an_order_that_makes_no_sense_change_nothing() -> None:
    replica = make_replica("a", **SEALED)
    held = Holding("b", "dc1", b"odd", True, "")
    assert (
        replica.receive(
            sealed_by_a_member(KeyringReport(1, (held,))), STRANGER, at(), reliable=True
        )
        == []
    )
    for number, (action, key) in enumerate(
        [(1, b"short"), (2, b""), (2, bytes(4)), (3, b"x"), (3, bytes.fromhex(OLD_ID))]
    ):
        wrong = KeyringOrder(number, replica.site, 2**60, KeyringAction(action), key)
        assert (
            len(sends(replica.receive(sealed_by_a_member(wrong), STRANGER, at(), reliable=True)))
            == 1
        )
    assert replica.keyring is not None
    assert replica.keyring.ids == [OLD_ID]


# -- lesson 28 -----------------------------------------------------------------------------------


def test_lesson_28_a_node_that_was_off_during_a_rotation_is_told_what_to_do_and_returns_with_it() -> (
    None
):
    net = Network()
    net.cluster("a b c", **SEALED)
    net.crash("c")
    net.until(lambda: net.state("a", "c") is net.state("b", "c") is MemberState.DEAD)
    for action, key in PLANS.items():
        assert order(net, "a", action, key).objection == ""
    join = (str(address_of(0)),)
    net.add("c", 2, join=join, **SEALED)
    net.until(
        lambda: any("refused by the node at 10.0.0.1" in text for text in logs(net.effects["c"]))
    )
    text = next(text for text in logs(net.effects["c"]) if "refused by" in text)
    for words in (
        f"sealed with key {OLD_ID}, which this node lacks",
        f"put the line of key {NEW_ID}",
        "keyring install",
    ):
        assert words in text
    assert net.sees("a", "b")
    # what it was told to do without a restart: an operator installs the new key on that node alone,
    # and uses it
    net.effects["c"].clear()
    assert order(net, "c", "install", NEW).objection == ""
    assert order(net, "c", "use", bytes.fromhex(NEW_ID)).objection == ""
    net.until(lambda: net.sees("c", "a", "b") and net.replicas["c"].settled)

"""Seals: what is said is read by who has the key, once, and by nobody else; and who is refused for
it is told what to change."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvgossip.config import DATAGRAM_BYTES_MIN_SEALED, Config, config_from
from kvgossip.errors import ConfigError, KeyringError
from kvgossip.protocol.effect import Effect, Joined, JoinRefused, MemberChanged
from kvgossip.protocol.ingress.complaints import INTERVAL_S
from kvgossip.protocol.model.member import MemberState, SyncState
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.wire.frame import (
    CHECKSUM_BYTES,
    FLAG_REFUSED,
    FLAG_SEALED,
    HEADER_BYTES,
    Framing,
    is_refusal,
    is_sealed,
)
from kvgossip.protocol.wire.keyring import KEYS_MAX, Keyring, key_id
from kvgossip.protocol.wire.message import Join, JoinReply, Nack, Ping, Refused, Rumor
from kvgossip.protocol.wire.seal import DATAGRAM, SEAL_BYTES, WINDOW, Seals, Window
from kvgossip.protocol.wire.unit import encode
from kvgossip.sim.faults import Intensity
from kvgossip.sim.scenario import Options, scenario
from kvgossip.sim.simulation import simulate
from kvgossip.sim.workload import Mix
from tests.protocol.net import (
    LAN,
    STRANGER,
    Network,
    address_of,
    at,
    logs,
    make_replica,
    member,
    refused,
    sends,
)

KEY, OTHER_KEY, THIRD_KEY = (Random(f"key {number}").randbytes(32) for number in range(3))
KEYRING, OTHER_KEYRING, THIRD_KEYRING = ((key.hex(),) for key in (KEY, OTHER_KEY, THIRD_KEY))
ID, OTHER_ID = key_id(KEY), key_id(OTHER_KEY)
SEALED: dict[str, Any] = {"keyring": KEYRING}
PING = encode(Ping(1, "b", "a", 0, at().wall_ms, SyncState.SETTLED))


def framing(
    *keys: bytes,
    site: int = 1,
    generation: int = 1,
    pool: str = "lan:dc1",
    cluster: str = "default",
) -> Framing:
    made = Framing(cluster, pool, 2**22)
    made.seal_with(Keyring(keys or (KEY,)), site, generation, 100)
    return made


def opening(by: Framing, data: bytes, reliable: bool = False) -> str:
    """Why it is not opened; empty where it is."""
    return refused(lambda: by.open(data, reliable=reliable))


def statistic(replica: Replica, name: str) -> float:
    return replica.statistics().get(name, 0)


# -- sealing and opening -------------------------------------------------------------------------


@pytest.mark.parametrize("reliable", [False, True])
def test_who_has_the_key_reads_what_was_said_and_nobody_else_sees_it(reliable: bool) -> None:
    secret = [
        Rumor("a very secret key", b"\x10" + bytes(16) + b"a very secret value"),
        Nack(7),
    ] * 20
    data = framing(KEY).frame(map(encode, secret), reliable=reliable)
    assert framing(OTHER_KEY, KEY).open(data, reliable=reliable) == (secret, [])
    assert b"secret" not in data
    assert data[:3] == LAN.frame([])[:3]
    assert data[4:HEADER_BYTES] == LAN.frame([])[4:HEADER_BYTES]
    assert data[3] & FLAG_SEALED


def test_a_frame_has_a_seal_or_a_checksum_and_nothing_else_beside_its_units() -> None:
    assert len(framing().frame([PING])) == HEADER_BYTES + SEAL_BYTES + len(PING)
    assert len(LAN.frame([PING])) == HEADER_BYTES + CHECKSUM_BYTES + len(PING)
    assert framing().overhead_bytes == HEADER_BYTES + SEAL_BYTES
    assert LAN.overhead_bytes == HEADER_BYTES + CHECKSUM_BYTES


@pytest.mark.parametrize("reliable", [False, True])
def test_no_bit_of_a_sealed_frame_can_be_changed(reliable: bool) -> None:
    data = framing().frame([PING] * 3, reliable=reliable)
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        reason = opening(framing(), bytes(changed), reliable)
        # that a frame says no is not authenticated: then what it says is noise
        assert reason or changed[3] & FLAG_REFUSED
        if changed[3] & FLAG_REFUSED:
            assert framing().open(bytes(changed), reliable=reliable).messages == []


@pytest.mark.parametrize("cut", range(HEADER_BYTES, HEADER_BYTES + SEAL_BYTES + len(PING), 5))
def test_a_sealed_frame_that_is_cut_off_does_not_open(cut: int) -> None:
    assert opening(framing(), framing().frame([PING])[:cut]) == "bad_seal"


def test_a_frame_for_a_link_opens_neither_as_a_datagram_nor_in_another_pool_or_cluster() -> None:
    data = framing().frame([PING], reliable=True)
    assert opening(framing(), data, reliable=False) == "bad_seal"
    head = framing(pool="wan").frame([])[:HEADER_BYTES]
    assert opening(framing(pool="wan"), head + data[HEADER_BYTES:], reliable=True) == "bad_seal"
    assert opening(framing(pool="wan"), data, reliable=True) == "other_pool"
    assert opening(framing(cluster="other"), data, reliable=True) == "other_cluster"


def test_which_key_is_lacking_is_known_and_what_is_not_sealed_is_refused_where_all_is() -> None:
    assert opening(framing(OTHER_KEY), framing(KEY).frame([PING])) == "unknown_key"
    assert opening(framing(KEY), LAN.frame([PING])) == "unsealed"
    assert opening(LAN, framing(KEY).frame([PING])) == "sealed"


def test_no_nonce_is_used_twice_with_one_key() -> None:
    """Every frame of a life has a counter of its own, and lives, pools and keys have sub-keys of
    their own."""
    one = framing()
    frames = [one.frame([PING], reliable=bool(number % 2)) for number in range(1000)]
    assert len({data[HEADER_BYTES : HEADER_BYTES + 28] for data in frames}) == 1000
    # the same counter and the same text under another sub-key is another cipher text
    lives = [
        framing(),
        framing(site=2),
        framing(generation=2),
        framing(pool="wan"),
        framing(cluster="other"),
        framing(OTHER_KEY),
    ]
    assert len({life.frame([PING])[HEADER_BYTES + 28 :] for life in lives}) == len(lives)
    changed = Keyring([KEY, OTHER_KEY])
    seals = Seals(changed, bytes(12), 1, 1, 10)
    before = seals.seal(bytes(16), b"", way=DATAGRAM)
    changed.use(OTHER_ID)
    after = seals.seal(bytes(16), b"", way=DATAGRAM)
    changed.use(ID)
    again = seals.seal(bytes(16), b"", way=DATAGRAM)
    assert [int.from_bytes(data[36:44], "big") for data in (before, after, again)] == [1, 2, 3]


# -- replays -------------------------------------------------------------------------------------


@pytest.mark.parametrize("reliable", [False, True])
def test_a_replayed_frame_is_dropped_and_the_next_one_is_not(reliable: bool) -> None:
    sender, receiver = framing(), framing(site=2)
    recorded = [sender.frame([PING], reliable=reliable) for _ in range(3)]
    assert [opening(receiver, data, reliable) for data in recorded * 2] == [""] * 3 + [
        "replayed"
    ] * 3
    assert opening(receiver, sender.frame([PING], reliable=reliable), reliable) == ""


def test_a_frame_that_was_forged_does_not_keep_out_the_true_one() -> None:
    sender, receiver = framing(), framing(site=2)
    data = sender.frame([PING])
    assert opening(receiver, data[:-1] + bytes((data[-1] ^ 1,))) == "bad_seal"
    assert opening(receiver, data) == ""


def test_to_look_at_a_frame_again_leaves_no_trace() -> None:
    data, receiver = framing().frame([PING]), framing(site=2)
    for _ in range(2):
        assert len(receiver.open(data, reliable=False, replays=True).messages) == 1
    assert opening(receiver, data) == ""


@settings(max_examples=200)
@given(st.lists(st.integers(0, 2000), max_size=1500), st.integers(0, 2**63))
def test_a_window_admits_each_counter_once_and_all_that_are_not_too_old(
    counters: list[int], offset: int
) -> None:
    window, arrived = Window(), Counter[int]()
    for counter in counters:
        recent = sorted(arrived)[-WINDOW:]
        admitted = window.admit(offset + counter)
        assert not (admitted and arrived[counter])
        if not arrived[counter] and (len(recent) < WINDOW or counter > recent[0]):
            assert admitted
        if admitted:
            arrived[counter] += 1
        assert len(window._seen) < 2 * WINDOW


def test_a_window_counts_what_arrived_and_not_what_was_sent_to_others() -> None:
    window = Window()
    assert all(window.admit(1_000_000 * number) for number in range(1, WINDOW))
    assert window.admit(5), "late, but fewer than a window of frames came meanwhile"


def test_lives_that_are_known_are_bounded_and_the_one_silent_longest_goes_first() -> None:
    receiver = framing(site=999)
    lives = [framing(site=site) for site in range(150)]
    spoken = lives[0].frame([PING])
    assert opening(receiver, spoken) == ""
    for life in lives[1:]:
        assert opening(receiver, life.frame([PING])) == ""
        assert opening(receiver, lives[0].frame([PING])) == ""
    assert receiver.seals is not None
    assert len(receiver.seals._senders) == 100
    assert opening(receiver, spoken) == "replayed"


def test_what_strangers_send_is_not_remembered() -> None:
    receiver = framing(site=999)
    for site in range(100):
        opening(receiver, framing(OTHER_KEY, site=site).frame([PING]))
        opening(receiver, framing(site=site).frame([PING])[:-1])
    assert receiver.seals is not None
    assert receiver.seals._senders == {}


# -- keyrings ------------------------------------------------------------------------------------


def test_a_keyring_seals_with_its_first_key_and_opens_with_all() -> None:
    keyring = Keyring([KEY, OTHER_KEY])
    assert (keyring.primary, keyring.ids) == (ID, [ID, OTHER_ID])
    assert keyring.use(OTHER_ID)
    assert not keyring.use(OTHER_ID)
    assert keyring.ids == [OTHER_ID, ID]
    assert keyring.install(THIRD_KEY)
    assert not keyring.install(THIRD_KEY)
    assert keyring.keys == (OTHER_KEY, KEY, THIRD_KEY)
    assert keyring.remove(ID)
    assert not keyring.remove(ID)
    assert keyring.ids == [OTHER_ID, key_id(THIRD_KEY)]


def test_a_keyring_keeps_its_primary_key_and_uses_none_that_it_lacks() -> None:
    keyring = Keyring([KEY])
    with pytest.raises(KeyringError, match=f"{ID} is the primary one"):
        keyring.remove(ID)
    with pytest.raises(KeyringError, match=f"no key {OTHER_ID}"):
        keyring.use(OTHER_ID)
    with pytest.raises(KeyringError, match="at least one key"):
        Keyring([])
    with pytest.raises(KeyringError, match="32 bytes"):
        Keyring([b"short"])
    for number in range(KEYS_MAX - 1):
        keyring.install(bytes((number,)) * 32)
    with pytest.raises(KeyringError, match=f"{KEYS_MAX} keys"):
        keyring.install(OTHER_KEY)
    assert keyring.keys[0] == KEY


def test_no_text_shows_a_key() -> None:
    config = Config(name="a", keyring=KEYRING)
    for text in (
        repr(config),
        str(config),
        repr(Keyring([KEY])),
        repr(make_replica("a", **SEALED).statistics()),
    ):
        assert KEY.hex() not in text
        assert repr(KEY) not in text
    with pytest.raises(ConfigError) as caught:
        Config(keyring=(KEY.hex()[:-1],))
    assert KEY.hex()[:8] not in f"{caught.value} {caught.value.hint}"


def test_a_keyring_leaves_room_for_the_longest_key_in_the_smallest_datagram() -> None:
    assert DATAGRAM_BYTES_MIN_SEALED - SEAL_BYTES >= 1232
    with pytest.raises(ConfigError, match="too small with a keyring") as caught:
        Config(keyring=KEYRING, datagram_bytes_max=DATAGRAM_BYTES_MIN_SEALED - 1)
    assert "1280" in caught.value.hint
    replica = make_replica("a" * 128, datagram_bytes_max=DATAGRAM_BYTES_MIN_SEALED, **SEALED)
    replica.pools.lan.membership.merge(member("b" * 128, 1), at())
    effects = replica.put("k" * 1024, bytes(5000), at()).effects + replica.tick(at())
    lengths = [len(packet.data) for packet in sends(effects)]
    assert 1024 < max(lengths) <= DATAGRAM_BYTES_MIN_SEALED


def test_keys_come_from_a_list_or_a_file_and_from_nothing_else() -> None:
    assert config_from({"keyring": list(KEYRING)}).keyring == KEYRING
    assert config_from({"keyring": "/etc/kvgossip.keys"}).keyring == "/etc/kvgossip.keys"
    with pytest.raises(ConfigError, match="neither the path"):
        config_from({"keyring": 7})
    with pytest.raises(ConfigError, match="has not been read"):
        make_replica("a", keyring="/etc/kvgossip.keys")


# -- the door ------------------------------------------------------------------------------------

MANY = [PING] * 30  # more bytes than a refusal has
REFUSED_WITH: dict[str, tuple[dict[str, Any], bytes, str]] = {
    "unsealed": (SEALED, LAN.frame(MANY), f"it is not sealed, and this node seals with key {ID}"),
    "sealed": ({}, framing(OTHER_KEY).frame(MANY), (f"sealed with key {OTHER_ID}, and this node "
    "has no keyring; start this one")),
    "unknown_key": (SEALED, framing(OTHER_KEY).frame(MANY), (f"sealed with key {OTHER_ID}, which "
    "this node lacks")),
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSED_WITH)
def test_a_frame_with_the_wrong_key_or_none_is_counted_logged_and_answered_in_clear(
    reason: str,
) -> None:
    config, data, words = REFUSED_WITH[reason]
    replica = make_replica("a", **config)
    effects = replica.receive(data, STRANGER, at())
    assert statistic(replica, f"frames_dropped.{reason}") == 1
    (text,) = logs(effects)
    assert words in text
    (answer,) = sends(effects)
    assert is_refusal(answer.data)
    for reader in (LAN, framing(KEY), framing(OTHER_KEY)):
        (refusal,) = reader.open(answer.data, reliable=False).messages
        assert isinstance(refusal, Refused)
        assert words in refusal.text
        assert len(refusal.text) < 512, "nothing is cut off"
    assert replica.receive(data, STRANGER, at(INTERVAL_S - 1)) == []


def test_a_stranger_who_names_many_keys_is_told_of_one_a_minute() -> None:
    replica = make_replica("a", **SEALED)
    inputs = [
        replica.receive(framing(bytes((number,)) * 32).frame(MANY), STRANGER, at())
        for number in range(20)
    ]
    assert [len(effects) for effects in inputs] == [2] + [0] * 19
    assert statistic(replica, "frames_dropped.unknown_key") == 20


def test_what_is_forged_or_replayed_is_only_counted_or_this_node_were_a_reflector() -> None:
    replica, data = make_replica("a", **SEALED), framing().frame([PING])
    assert len(sends(replica.receive(data, STRANGER, at()))) == 1
    assert replica.receive(data, STRANGER, at()) == []
    assert replica.receive(data[:-1], STRANGER, at()) == []
    assert (
        statistic(replica, "frames_dropped.replayed"),
        statistic(replica, "frames_dropped.bad_seal"),
    ) == (1, 1)


def test_a_replayed_rumor_is_not_merged_again_nor_answered() -> None:
    replica = make_replica("a", **SEALED)
    sender = framing()
    recorded = sender.frame([encode(member("b", 1))])
    assert any(
        isinstance(effect, MemberChanged)
        for effect in replica.receive(recorded, address_of(1), at())
    )
    replica.receive(
        sender.frame([encode(member("b", 1, MemberState.LEFT))]), address_of(1), at(1.0)
    )
    assert replica.receive(recorded, address_of(1), at(2.0)) == []
    assert statistic(replica, "frames_dropped.replayed") == 1


def test_every_frame_of_a_sealed_node_is_sealed_but_for_refusals() -> None:
    net = Network()
    seen: Counter[bool] = Counter()
    net.watch = lambda frm, to, sent: seen.update([is_sealed(sent.data)])
    net.cluster("a b c", **SEALED)
    net.put("a", "k", b"small")
    net.put("b", "l", bytes(100_000))
    net.until(net.converged)
    assert seen[True] > 20
    assert not seen[False]


# -- refusals are texts, and nothing more --------------------------------------------------------


def asked(replica: Replica) -> Join:
    """Let the replica join the node in place 1."""
    net_now = at()
    replica.join(("10.0.0.2:7481",), net_now)
    (sent,) = sends(replica.resolved("10.0.0.2:7481", [address_of(1)], net_now))
    opened = (framing() if replica.keyring else LAN).open(
        sent.data, reliable=True, **{"replays": True}
    )
    assert isinstance(opened.messages[0], Join)
    return opened.messages[0]


def outcomes(effects: list[Effect]) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, (Joined, JoinRefused))]


def test_a_forged_refusal_may_fail_a_join_once_and_cannot_keep_a_node_out() -> None:
    replica = make_replica("a", **SEALED)
    asked(replica)
    forged = LAN.refusal("go away")
    before = (replica.store.digest.root, replica.members(), replica.settled)
    (outcome,) = outcomes(replica.receive(forged, address_of(1), at(), reliable=True))
    assert isinstance(outcome, JoinRefused)
    for _ in range(5):
        assert replica.receive(forged, address_of(1), at(), reliable=True) == []
    assert (replica.store.digest.root, replica.members(), replica.settled) == before
    reply = JoinReply("b", 2, "10.0.0.1", SyncState.SETTLED)
    effects = replica.receive(
        framing(site=2).frame([encode(reply), encode(member("b", 1))], reliable=True),
        address_of(1),
        at(),
        reliable=True,
    )
    assert outcomes(effects) == [Joined(address_of(1), "b")]


@pytest.mark.parametrize("config", [{}, SEALED], ids=["unsealed", "sealed"])
def test_a_refusal_in_a_datagram_fails_no_join(config: dict[str, Any]) -> None:
    replica = make_replica("a", **config)
    asked(replica)
    assert outcomes(replica.receive(LAN.refusal("go away"), address_of(1), at())) == []


def test_a_refusal_by_a_member_of_the_sealed_cluster_is_sealed_and_final() -> None:
    host, newcomer = make_replica("a", **SEALED), make_replica("a", 1, seed=1, **SEALED)
    newcomer.join(("10.0.0.1:7481",), at())
    (join,) = sends(newcomer.resolved("10.0.0.1:7481", [address_of(0)], at()))
    (refusal,) = sends(host.receive(join.data, address_of(1), at(), reliable=True))
    assert not is_refusal(refusal.data)
    assert is_sealed(refusal.data)
    (outcome,) = outcomes(newcomer.receive(refusal.data, address_of(0), at(), reliable=True))
    assert isinstance(outcome, JoinRefused)
    assert "is held by the live node" in outcome.text
    reply = JoinReply("b", 2, "10.0.0.1", SyncState.SETTLED)
    assert (
        outcomes(
            newcomer.receive(
                framing(site=2).frame([encode(reply)], reliable=True),
                address_of(0),
                at(),
                reliable=True,
            )
        )
        == []
    )


# -- lesson 28 -----------------------------------------------------------------------------------


def test_lesson_28_a_node_with_a_stale_keyring_hears_which_key_is_used_and_what_to_do() -> None:
    net = Network()
    net.cluster("a b", keyring=KEYRING)
    net.add("c", 2, keyring=OTHER_KEYRING)
    net.join("c", str(address_of(0)))
    net.until(lambda: bool(outcomes(net.effects["c"])))
    (outcome,) = outcomes(net.effects["c"])
    assert isinstance(outcome, JoinRefused)
    for words in (
        f"sealed with key {OTHER_ID}",
        f"seals with key {ID}",
        "first into its own file",
        "keyring install",
        "'c' of cluster",
    ):
        assert words in outcome.text
    assert any(
        f"sealed with key {OTHER_ID}, which this node lacks" in text
        for text in logs(net.effects["a"])
    )
    assert net.sees("a", "b")


def test_lesson_28_a_node_that_missed_a_new_primary_key_says_so_although_it_is_understood() -> None:
    """The cluster still opens what it says, but it cannot open the answer."""
    net = Network()
    net.cluster("a b", keyring=(*OTHER_KEYRING, *KEYRING))
    net.add("c", 2, keyring=KEYRING)
    net.join("c", str(address_of(0)))
    net.until(lambda: bool(outcomes(net.effects["c"])))
    (outcome,) = outcomes(net.effects["c"])
    assert isinstance(outcome, JoinRefused)
    assert f"sealed with key {OTHER_ID}, which this node lacks" in outcome.text
    net.until(
        lambda: any(
            "refused by the node at 10.0.0.3" in text
            for text in logs(net.effects["a"]) + logs(net.effects["b"])
        )
    )
    # and with the key it is in
    net.crash("c")
    net.add("c", 2, keyring=(*OTHER_KEYRING, *KEYRING), join=(str(address_of(0)),))
    net.until(lambda: net.sees("c", "a", "b") and net.sees("a", "b", "c"))


# -- pools that were mixed by accident -----------------------------------------------------------


@pytest.mark.parametrize("keyring", [(), KEYRING], ids=["unsealed", "sealed"])
def test_lesson_15_pools_do_not_mix_with_one_keyring_either(keyring: tuple[str, ...]) -> None:
    net = Network()
    net.add("g", 0, datacenter="paris", gateway=True, keyring=keyring)
    net.add("h", 1, datacenter="tokyo", gateway=True, keyring=keyring)
    net.add("p", 2, datacenter="paris", keyring=keyring)
    wan = "10.0.0.1:7483"
    accidents = [
        ("h", address_of(2), PoolKind.LAN, "belongs to the LAN pool of another datacenter"),
        ("h", address_of(2), PoolKind.WAN, "belongs to the WAN pool, and this node is no gateway"),
        (
            "h",
            address_of(0),
            PoolKind.WAN,
            f"this is the LAN address of a gateway; join its WAN address, {wan}",
        ),
    ]
    for name, address, pool, words in accidents:
        net.effects[name].clear()
        net.join(name, str(address), pool=pool)
        net.until(lambda name=name: bool(outcomes(net.effects[name])))  # type: ignore[misc]
        assert words in str(outcomes(net.effects[name])[0])


# -- the simulator -------------------------------------------------------------------------------


def test_of_swarms_one_in_four_is_sealed_and_the_others_are_the_runs_they_always_were() -> None:
    plans = [scenario(seed, Options()) for seed in range(200)]
    assert 30 < sum(bool(plan.config.keyring) for plan in plans) < 70
    for seed, plan in enumerate(plans):
        unsealed = scenario(seed, Options(sealed=False))
        if not plan.config.keyring:
            assert plan == unsealed
        else:
            datagram_bytes_max = unsealed.config.datagram_bytes_max
            assert (
                replace(plan.config, keyring=(), datagram_bytes_max=datagram_bytes_max)
                == unsealed.config
            )
    assert not scenario(1, Options(intensity=Intensity())).config.keyring


@pytest.mark.parametrize("seed", range(2))
def test_a_sealed_cluster_agrees_whatever_is_lost_doubled_or_replayed(seed: int) -> None:
    harsh = Intensity(loss=0.1, duplicate=0.2, crash_rate=0.01, garbage_rate=2.0)
    options = Options(
        nodes=(5, 7),
        intensity=harsh,
        mix=Mix(writes=60),
        duration_s=8.0,
        sealed=True,
        datacenters=(1, 2),
    )
    report = simulate(seed, options, trace_length=50)
    assert report.passed, report.violation
    assert report.sealed
    assert any("Ping" in line for line in report.trace), "a trace shows what sealed frames say"


def test_a_node_at_its_own_address_recognises_itself_through_the_seal() -> None:
    net = Network()
    net.add("a", 0, join=(str(address_of(0)),), **SEALED)
    net.until(lambda: net.replicas["a"].settled)

"""Identity: a name belongs to the first key that used it, and whoever else comes with it is refused
in words."""

from __future__ import annotations

import stat
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from kvgossip.config import Config
from kvgossip.errors import ConfigError
from kvgossip.protocol.membership import signed_records
from kvgossip.protocol.membership.identity import Identity, is_signed
from kvgossip.protocol.membership.signed_records import CHECKS_PER_S, SignedRecords
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.wire.member_record import RECORD_BYTES_MAX, encode_member
from kvgossip.protocol.wire.message import Join
from kvgossip.protocol.wire.unit import encode
from kvgossip.runtime.disk.key_files import read_identity
from kvgossip.runtime.node import Node
from tests.protocol.net import LAN, STRANGER, WALL_MS, address_of, at, make_replica, member, sends
from tests.runtime.test_node import TIMEOUT_S, configured, refused, statistic, until

LATER = WALL_MS + 100_000
ONE, OTHER = (Identity(Random(number).randbytes(32)) for number in range(2))


def replica_of(
    name: str, place: int, identity: Identity | None, now: Now | None = None, **config: Any
) -> Replica:
    settings = Config(name=name, digest_levels=2, **config)
    return Replica(
        settings, address=address_of(place), rng=Random(place), now=now or at(), identity=identity
    )


def join_of(joiner: Replica) -> bytes:
    """What it sends to whom it wants to join."""
    joiner.join([str(STRANGER)], at())
    (sent,) = sends(joiner.resolved(str(STRANGER), [STRANGER], at()))
    return sent.data


def answer(host: Replica, data: bytes) -> str:
    """Why the host refuses this join; empty where it takes the newcomer in."""
    for packet in sends(host.receive(data, STRANGER, at(), reliable=True)):
        for message in LAN.open(packet.data, reliable=True).messages:
            if hasattr(message, "text"):
                return str(message.text)
    return ""


def test_a_name_belongs_to_the_first_identity_that_used_it_also_while_its_owner_is_dead() -> None:
    host = make_replica("a")
    assert answer(host, join_of(replica_of("b", 1, ONE))) == ""
    assert host.pools.lan.membership.members["b"].identity == ONE.fingerprint
    host.pools.lan.membership.merge(
        replace(host.pools.lan.membership.members["b"], state=MemberState.DEAD), at()
    )
    later = at(60.0)
    text = answer(host, join_of(replica_of("b", 2, OTHER, later)))
    assert (
        f"belongs to the identity {ONE.fingerprint.hex()[:8]}, and it has "
        f"{OTHER.fingerprint.hex()[:8]}"
    ) in text
    assert "force-leave b --prune" in text
    assert "and it has none" in answer(host, join_of(replica_of("b", 2, None, later)))
    assert answer(host, join_of(replica_of("b", 2, ONE, later))) == ""


def test_prune_frees_a_name() -> None:
    host = make_replica("a")
    host.receive(join_of(replica_of("b", 1, ONE)), STRANGER, at(), reliable=True)
    known = host.pools.lan.membership.members["b"]
    host.pools.lan.membership.merge(replace(known, state=MemberState.DEAD), at())
    host.force_leave("b", at(), prune=True)
    assert answer(host, join_of(replica_of("b", 2, OTHER, at(60.0)))) == ""


def test_a_name_without_an_identity_may_be_claimed_later_and_then_belongs_to_it() -> None:
    host = make_replica("a")
    assert answer(host, join_of(replica_of("b", 1, None))) == ""
    assert answer(host, join_of(replica_of("b", 1, ONE, at(1.0)))) == ""
    assert "belongs to the identity" in answer(host, join_of(replica_of("b", 1, OTHER, at(2.0))))


@pytest.mark.parametrize(
    "forge",
    [
        lambda join, newcomer: (replace(join, signature=bytes(64)), newcomer),
        lambda join, newcomer: (replace(join, signature=b""), newcomer),
        lambda join, newcomer: (replace(join, identity=b""), newcomer),
        lambda join, newcomer: (replace(join, identity=OTHER.public), newcomer),
        lambda join, newcomer: (join, replace(newcomer, identity=OTHER.fingerprint)),
        lambda join, newcomer: (join, replace(newcomer, identity=b"")),
        lambda join, newcomer: (join, replace(newcomer, host="10.0.0.9")),
        lambda join, newcomer: (join, replace(newcomer, generation=newcomer.generation + 1)),
        lambda join, newcomer: (replace(join, site=7), replace(newcomer, site=7)),
        lambda join, newcomer: (replace(join, name="c"), replace(newcomer, name="c")),
    ],
)
def test_an_identity_that_is_not_proved_for_this_name_life_and_address_is_refused(
    forge: Any,
) -> None:
    host, messages = (
        make_replica("a"),
        LAN.open(join_of(replica_of("b", 1, ONE)), reliable=True).messages,
    )
    join, newcomer = messages[0], messages[1]
    assert isinstance(join, Join)
    assert isinstance(newcomer, Member)
    assert "is not proved" in answer(
        host, LAN.frame(map(encode, forge(join, newcomer)), reliable=True)
    )
    assert list(host.pools.lan.membership.members) == ["a"]


def test_a_signature_for_another_cluster_or_pool_proves_nothing() -> None:
    newcomer = replica_of("b", 1, ONE).member
    for cluster, pool in (("other", "lan:dc1"), ("default", "wan")):
        join = Join("b", newcomer.site, "", ONE.public, ONE.sign(cluster, pool, newcomer))
        assert "is not proved" in answer(
            make_replica("a"), LAN.frame([encode(join), encode(newcomer)], reliable=True)
        )


def test_where_identities_are_required_who_has_none_is_refused_and_so_is_news_of_it() -> None:
    settings = Config(name="a", digest_levels=2, identity="a file", require_identity=True)
    host = Replica(settings, address=address_of(0), rng=Random(0), now=at(), identity=ONE)
    assert "requires one; start that node with --identity FILE" in answer(
        host, join_of(replica_of("b", 1, None))
    )
    host.receive(LAN.frame([encode(member("c", 2))]), STRANGER, at())
    assert list(host.pools.lan.membership.members) == ["a"]
    assert host.statistics()["identities_refused"] == 1
    assert answer(host, join_of(replica_of("b", 1, OTHER))) == ""


def test_news_of_a_name_under_another_identity_is_not_taken() -> None:
    replica = make_replica("a")
    owner = member("b", 1, identity=ONE.fingerprint)
    replica.receive(LAN.frame([encode(owner)]), STRANGER, at())
    for thief in (
        replace(owner, generation=9, identity=OTHER.fingerprint),
        replace(owner, generation=9, identity=b""),
    ):
        replica.receive(LAN.frame([encode(thief)]), STRANGER, at())
    assert replica.pools.lan.membership.members["b"] == owner
    assert replica.statistics()["identities_refused"] == 2


def test_requiring_what_one_lacks_and_a_file_that_nobody_read_are_the_operators_mistakes() -> None:
    with pytest.raises(ConfigError, match="has no identity itself"):
        Config(require_identity=True)
    with pytest.raises(ConfigError, match="has not been read"):
        make_replica("a", identity="file")


def test_an_identity_shows_nothing_of_its_secret() -> None:
    secret = Random(0).randbytes(32)
    assert secret.hex() not in repr(ONE)


# -- files and nodes -----------------------------------------------------------------------------


def test_an_identity_file_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    made = read_identity(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_identity(str(path)).public == made.public
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="everybody may read"):
        read_identity(str(path))
    with pytest.raises(ConfigError, match="cannot make the identity file"):
        read_identity(str(tmp_path / "no/such"))


async def test_a_name_is_kept_for_its_identity_on_real_sockets(tmp_path: Path) -> None:
    files = {name: str(tmp_path / name) for name in ("n1", "n2", "thief")}
    required: dict[str, Any] = {"require_identity": True}
    async with Node(configured("n1", identity=files["n1"], **required)) as one:
        async with Node(configured("n2", one, identity=files["n2"], **required)) as two:
            await two.wait_settled(TIMEOUT_S)
            fingerprint = two.status()["identity"]
            await until(
                lambda: (
                    [known.identity.hex() for known in one.members() if known.name == "n2"]
                    == [fingerprint]
                )
            )
        async with Node(configured("n2", identity=files["thief"])) as thief:
            assert f"belongs to the identity {fingerprint[:8]}" in await refused(thief, one.address)
        async with Node(configured("n3")) as nobody:
            assert "requires one; start that node with --identity FILE" in await refused(
                nobody, one.address
            )
        assert statistic(one, "identities_refused") == 0
        async with Node(configured("n2", one, identity=files["n2"], **required)) as again:
            await again.wait_settled(TIMEOUT_S)


# -- signed records -------------------------------------------------------------------------------


def heard_by(host: Replica, record: Member) -> Member | None:
    """What the host knows of the name once it has heard this, from whoever."""
    host.receive(LAN.frame([encode(record)]), STRANGER, at(60.0))
    return host.pools.lan.membership.members.get(record.name)


def refusals_of(host: Replica) -> int:
    return int(host.statistics()["identities_refused"])


def test_the_owner_signs_its_record_and_whoever_hears_it_from_others_checks_it() -> None:
    owner = replica_of("b", 1, ONE)
    assert owner.member.signature[:32] == ONE.public
    assert len(owner.member.signature) == 96
    first, second = make_replica("a"), make_replica("c", 2)
    known = heard_by(first, owner.member)
    assert known == owner.member
    assert heard_by(second, known) == owner.member
    assert (refusals_of(first), refusals_of(second)) == (0, 0)


def test_who_has_no_identity_signs_nothing_and_is_believed_as_before() -> None:
    host, plain = make_replica("a"), member("b", 1)
    assert replica_of("b", 1, None).member.signature == b""
    for record in (
        plain,
        replace(plain, generation=2),
        replace(plain, incarnation=3, generation=2),
    ):
        assert heard_by(host, record) == record
    moved = replace(plain, generation=3, host="10.0.0.9")
    assert heard_by(host, moved) == moved


@pytest.mark.parametrize(
    "lie",
    [
        {"generation": LATER},
        {"generation": LATER, "state": MemberState.LEFT},
        {"site": 2**64 - 1},
        {"incarnation": 9, "host": "10.0.0.66"},
        {"incarnation": 9, "port": 66},
        {"incarnation": 9, "other_host": "10.0.0.66"},
        {"incarnation": 9, "host": ""},
    ],
)
@pytest.mark.parametrize("signature", ["kept", "none", "another", "of another key"])
def test_nobody_else_begins_a_life_of_a_signed_name_or_says_where_it_is(
    lie: dict[str, Any], signature: str
) -> None:
    host, owner = make_replica("a"), replica_of("b", 1, ONE)
    assert heard_by(host, owner.member) == owner.member
    false = replace(owner.member, **lie)
    if signature == "none":
        false = replace(false, signature=b"")
    elif signature == "another":
        false = replace(false, signature=ONE.public + bytes(64))
    elif signature == "of another key":
        false = replace(false, signature=OTHER.sign_record("default", "lan:dc1", false))
    known = heard_by(host, false)
    assert known is not None
    assert (known.address, known.other_host) == (owner.member.address, "")
    assert (known.generation, known.site) == (owner.member.generation, owner.member.site)
    assert known.signature == owner.member.signature
    if (signature, *lie) != ("kept", "incarnation", "other_host"):  # that host alone is dropped
        assert refusals_of(host) == (lie.get("host") != "")


def test_an_accusation_is_anybodys_word_and_the_owner_signs_what_it_raises() -> None:
    host, owner = make_replica("a"), replica_of("b", 1, ONE)
    heard_by(host, owner.member)
    dead = replace(owner.member, state=MemberState.DEAD, signature=b"")
    known = heard_by(host, dead)
    assert known is not None
    assert (known.state, known.signature) == (MemberState.DEAD, owner.member.signature)
    owner.receive(LAN.frame([encode(known)]), STRANGER, at(60.0))
    assert owner.member.generation == dead.generation + 1
    assert owner.member.signature != dead.signature
    assert heard_by(host, owner.member) == owner.member


def test_a_record_is_signed_once_for_each_life(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[int] = []

    def look(signature: bytes, record: Member, cluster: str, pool: str) -> bool:
        checked.append(record.generation)
        return is_signed(signature, record, cluster, pool)

    monkeypatch.setattr(signed_records, "is_signed", look)
    host, owner = make_replica("a"), replica_of("b", 1, ONE)
    for incarnation in range(5):
        heard_by(host, replace(owner.member, incarnation=incarnation))
    suspect = replace(owner.member, incarnation=4, state=MemberState.SUSPECT, accuser="x")
    heard_by(host, suspect)
    assert checked == [owner.member.generation]


def test_a_flood_of_false_signatures_costs_so_many_checks_a_second_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[str] = []

    def refuse(signature: bytes, record: Member, cluster: str, pool: str) -> bool:
        checked.append(record.name)
        return False

    monkeypatch.setattr(signed_records, "is_signed", refuse)
    host, owner = make_replica("a"), replica_of("b", 1, ONE)
    records = SignedRecords("default", "lan:dc1", None)
    for number in range(5000):
        false = replace(owner.member, name=f"x{number}")
        assert records.believed(false, None, at()) is None
    assert len(checked) <= 4 * CHECKS_PER_S
    assert list(host.pools.lan.membership.members) == ["a"]


def test_an_owner_that_does_not_know_its_address_vouches_for_its_life_alone() -> None:
    owner = replica_of("b", 1, ONE)
    bare = replace(owner.member, host="", signature=b"")
    bare = replace(bare, signature=ONE.sign_record("default", "lan:dc1", bare))
    host = make_replica("a")
    taken = replace(bare, host="10.0.0.5")
    assert heard_by(host, taken) == taken, "whoever took it in says where it is"
    assert heard_by(host, replace(taken, incarnation=1, host="10.0.0.66")) == taken
    assert refusals_of(host) == 1
    later = replace(bare, generation=bare.generation + 5)
    later = replace(later, signature=ONE.sign_record("default", "lan:dc1", later), host="10.0.0.6")
    assert heard_by(host, later) == later


def test_an_older_release_that_signs_nothing_is_a_member_until_its_name_was_signed() -> None:
    host, owner = make_replica("a"), replica_of("b", 1, ONE)
    unsigned = replace(owner.member, signature=b"")
    assert heard_by(host, unsigned) == unsigned
    risen = replace(unsigned, generation=unsigned.generation + 1)
    assert heard_by(host, risen) == risen
    signed = replica_of("b", 1, ONE, at(9.0)).member
    assert heard_by(host, signed) == signed
    back = replace(unsigned, generation=signed.generation + 1)
    assert heard_by(host, back) == signed
    newcomer = replica_of("b", 1, ONE, at(20.0))
    data = join_of(newcomer)
    join, record, *_ = LAN.open(data, reliable=True).messages
    assert isinstance(record, Member)
    frame = LAN.frame(map(encode, (join, replace(record, signature=b""))), reliable=True)
    assert "force-leave b --prune" in answer(host, frame)
    assert answer(host, data) == ""


def test_the_two_hosts_of_a_member_may_be_told_in_any_order() -> None:
    host = make_replica("a")
    dual = replace(replica_of("b", 1, ONE).member, other_host="fd91::9", signature=b"")
    dual = replace(dual, signature=ONE.sign_record("default", "lan:dc1", dual))
    turned = replace(dual, host=dual.other_host, other_host=dual.host)
    assert heard_by(host, turned) is not None
    assert refusals_of(host) == 0


def test_a_host_that_whoever_passed_a_record_on_has_put_beside_is_not_taken() -> None:
    host, owner = make_replica("a"), replica_of("b", 1, ONE)
    for beside in (
        replace(owner.member, host="fd91::66", other_host=owner.member.host),
        replace(owner.member, other_host="fd91::66"),
    ):
        fresh = make_replica("c", 2)
        assert heard_by(fresh, beside) == owner.member
        assert heard_by(host, replace(beside, incarnation=1 + host.member.incarnation)) is not None
        assert host.pools.lan.membership.members["b"].address == owner.member.address


def test_who_joined_a_signed_member_by_another_host_keeps_that_one() -> None:
    host, owner = make_replica("a"), replica_of("b", 1, ONE)
    host.pools.lan.membership.joined_at["b"] = "fd91::9"
    for incarnation in range(3):
        known = heard_by(host, replace(owner.member, incarnation=incarnation))
        assert known is not None
        assert (known.host, known.other_host) == ("fd91::9", owner.member.host)
        assert (known.incarnation, known.signature) == (incarnation, owner.member.signature)
    assert refusals_of(host) == 0


@pytest.mark.parametrize(("length", "signs"), [(64, True), (253, False)])
def test_a_record_that_would_fit_into_no_datagram_once_it_is_accused_is_not_signed(
    length: int, signs: bool
) -> None:
    host = "h" * length
    long = member("n" * 128, host=host, http=f"{host}:65535", zone="z" * 64, site=2**64 - 1)
    long = replace(long, datacenter="d" * 128, identity=ONE.fingerprint, coordinates=(0.1,) * 8)
    signed = SignedRecords("default", "lan:dc1", ONE).signed(long)
    assert bool(signed.signature) == signs
    accused = replace(signed, accuser="x" * 128, incarnation=2**32)
    assert len(encode_member(accused)) <= RECORD_BYTES_MAX


def test_a_signature_that_was_left_out_on_the_way_is_taken_when_it_comes() -> None:
    host, owner = make_replica("a"), replica_of("b", 1, ONE)
    bare = replace(owner.member, signature=b"")
    assert heard_by(host, bare) == bare
    false = replace(bare, signature=ONE.public + bytes(64))
    assert heard_by(host, false) == bare
    assert heard_by(host, owner.member) == owner.member
    assert heard_by(host, replace(bare, generation=LATER)) == owner.member
    assert refusals_of(host) == 2


@pytest.mark.parametrize("changes", [{}, {"host": "10.6.6.6"}, {"http": "10.6.6.6:80"}])
def test_of_a_name_without_an_identity_a_signature_makes_no_record_the_better_one(
    changes: dict[str, Any],
) -> None:
    host, known = make_replica("a"), member("b", 1)
    assert heard_by(host, known) == known
    assert heard_by(host, replace(known, signature=b"\x10" * 17, **changes)) == known


def test_a_signature_that_comes_late_brings_no_other_address() -> None:
    host, owner = make_replica("a"), replica_of("b", 1, ONE)
    bare = replace(owner.member, signature=b"", host="10.6.6.6")
    assert heard_by(host, bare) == bare
    assert heard_by(host, owner.member) == bare

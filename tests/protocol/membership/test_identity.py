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
from kvgossip.protocol.membership.identity import Identity
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.wire.frame import encode
from kvgossip.protocol.wire.message import Join
from kvgossip.runtime.disk.key_files import read_identity
from kvgossip.runtime.node import Node
from tests.protocol.net import LAN, STRANGER, address_of, at, make_replica, member, sends
from tests.runtime.test_node import TIMEOUT_S, configured, refused, statistic, until

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

"""SignedRecords: the owner of a name with an identity signs its record, so that nobody else begins
a life of it, or says where it is.

    signature := the owner's public key (32 bytes), and what it has signed with it (64 bytes):
                 cluster, pool, name, site, generation and address; a trailing field of the record

Laws
- The owner signs once for each life, and again where it learns its address. Accusations are
  anybody's word, as SWIM has it: the owner refutes them, and signs what it raises.
- News that begins a life of a name with an identity, or changes its address, is taken with a
  signature alone, once one was seen of that name; all else of a record is believed as it is. So an
  older release, which signs nothing, is a member as before; but who has signed cannot go back to it
  unless the name is pruned.
- A record is checked once for each life: what is known of it already is not looked at again. No
  more than CHECKS_PER_S are, since each costs a tenth of a millisecond: news beyond that comes
  again.
- An owner that does not know its address yet vouches for its life alone, and whoever took it in
  says where it is. Then a later life moves it, and nothing else.
- A node that lacks the cryptography package checks nothing, and believes as if nobody signed.
"""

from __future__ import annotations

from msgspec.structs import replace

from kvgossip.extras import MissingPackageError, require
from kvgossip.protocol.ingress.rate_limit import RateLimit
from kvgossip.protocol.membership.identity import Identity, is_signed
from kvgossip.protocol.model.member import Member, life, rank
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.wire.member_record import RECORD_BYTES_MAX, encode_member

CHECKS_PER_S = 500.0
ACCUSATION_BYTES = 144
"""What a record grows by where it is accused and refuted: a name, and an incarnation."""


class SignedRecords:
    """Of one pool. `identity`: this node's own, None where it has none."""

    def __init__(self, cluster: str, pool: str, identity: Identity | None) -> None:
        self._cluster, self._pool, self._identity = cluster, pool, identity
        self._checks = RateLimit(CHECKS_PER_S)
        #: the own record that was signed last
        self._latest: Member | None = None

    def signed(self, me: Member) -> Member:
        """The own record with its signature; without one where this node has no identity, or where
        its names are so long that a record would fit into no datagram."""
        if self._identity is None:
            return me
        last = self._latest
        if last is None or not is_same_place(me, last) or life(me) != life(last):
            signature = self._identity.sign_record(self._cluster, self._pool, me)
            last = self._latest = replace(me, signature=signature)
        signed = replace(me, signature=last.signature)
        room = RECORD_BYTES_MAX - ACCUSATION_BYTES
        return signed if len(encode_member(signed)) <= room else me

    def believed(self, heard: Member, known: Member | None, now: Now) -> Member | None:
        """What of this news may be taken over what is known of the name, None: nothing; both are of
        one identity, or of none."""
        if not heard.identity or not _can_check():
            return heard
        if known is not None and is_old_news(heard, known) and not adds_signature(heard, known):
            # nobody has looked at another signature than the one that is known
            return replace(heard, signature=known.signature)
        if not heard.signature:
            return heard if known is None or not known.signature else None
        if not self._checks.admits("", now.monotonic_s):
            return None
        return self._checked(heard, known)

    def _checked(self, heard: Member, known: Member | None) -> Member | None:
        # who joined a member by a host that its record does not tell has put that beside
        # (own_host.py): it is dropped, as the owner has not signed it
        hosts = [heard.host, heard.other_host] if heard.other_host else []
        alone = [replace(heard, host=host, other_host="") for host in hosts]
        for each in (heard, *alone):
            if is_signed(heard.signature, each, self._cluster, self._pool):
                return each
        hostless = replace(heard, host="", other_host="")
        begins = known is None or life(heard) > life(known)
        signed = begins and is_signed(heard.signature, hostless, self._cluster, self._pool)
        return heard if signed else None


def is_old_news(heard: Member, known: Member) -> bool:
    """True if this life and this address are known."""
    known_hosts = (known.host, known.other_host, "")
    return (
        life(heard) == life(known)
        and heard.port == known.port
        and heard.host in known_hosts
        and heard.other_host in known_hosts
    )


def is_same_place(one: Member, other: Member) -> bool:
    """True if two records name the same hosts, whichever first, and the same port."""
    hosts = [sorted((each.host, each.other_host)) for each in (one, other)]
    return one.port == other.port and hosts[0] == hosts[1]


def adds_signature(heard: Member, known: Member) -> bool:
    """True of a signed record where the one that is known has no signature, although the owner may
    have made one: whoever passed it on may have left it out."""
    return bool(heard.signature) and not known.signature


def is_signed_now(heard: Member, known: Member) -> bool:
    """True if the same is known of this member, but without a signature. Where there is no identity
    there is nothing to sign: anybody's bytes would make an equal record the better one."""
    return (
        bool(heard.identity)
        and rank(heard) == rank(known)
        and is_old_news(heard, known)
        and adds_signature(heard, known)
    )


def _can_check() -> bool:
    try:
        require("cryptography", "the signature of a member's record")
    except MissingPackageError:
        return False
    return True

"""Identity: a key of a node's own (Ed25519), by which a name belongs to its first user.

    Join carries the public key and a signature over cluster, pool, name, site, generation and
    address; a member's record the key's fingerprint, so that a node that hears of it from others
    knows the owner of the name too, and a signature of its own (signed_records.py).

Laws
- A name belongs to the first identity that was seen with it, as long as the record is kept: another
  one, or none, is refused in words, also while the owner is dead. `force-leave --prune` forgets the
  record, and so frees the name.
- A name that nobody has claimed with an identity may be claimed later: nodes get theirs one after
  the other.
- Where identities are required, a newcomer without one is refused, and so is news of a member
  without one.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from kvgossip.extras import MissingPackageError, require
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.wire.message import Join

FINGERPRINT_BYTES = 16
KEY_BYTES = 32


class Identity:
    """`secret`: the 32 bytes that make it. They are in no text that it makes. Raises
    MissingPackageError."""

    __slots__ = ("_key", "fingerprint", "public")

    def __init__(self, secret: bytes) -> None:
        require("cryptography", "an identity")
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self.public = self._key.public_key().public_bytes_raw()
        self.fingerprint = fingerprint_of(self.public)

    def __repr__(self) -> str:
        return f"Identity({self.fingerprint.hex()})"

    def sign(self, cluster: str, pool: str, me: Member) -> bytes:
        """The signature of a Join of this life, 64 bytes."""
        return self._key.sign(_statement(cluster, pool, me))

    def sign_record(self, cluster: str, pool: str, me: Member) -> bytes:
        """The signature of the own record, 96 bytes, the public key before it."""
        return self.public + self._key.sign(_record_statement(cluster, pool, me))


def fingerprint_of(public: bytes) -> bytes:
    return blake2b(public, digest_size=FINGERPRINT_BYTES, person=b"kvgossip id").digest()


def objection_to(
    join: Join, newcomer: Member, holder: Member | None, cluster: str, pool: str, required: bool
) -> str:
    """Why a newcomer may not have its name; empty where it may. `newcomer` is its record as it
    came, `holder` the member that is known by the name."""
    who = f"the name {newcomer.name!r}, with which {newcomer.address} wants to join,"
    try:
        if (join.identity or newcomer.identity) and not _is_proved(join, newcomer, cluster, pool):
            return (
                f"the identity of {newcomer.name!r} is not proved: its signature does not fit "
                "its name, life and address"
            )
    except MissingPackageError as error:
        # a name with an identity is nobody else's, so it is not given away unproved
        return (
            f"{error} on the member that was asked; join another one, or install it there: "
            f"{error.hint}"
        )
    if holder is not None and holder.identity and holder.identity != newcomer.identity:
        has = f"it has {newcomer.identity.hex()[:8]}" if newcomer.identity else "it has none"
        return (
            f"{who} belongs to the identity {holder.identity.hex()[:8]}, and {has}; start it with "
            "the --identity file that it had, or "
            f"under another --name; if the file is lost, `kvgossip force-leave {newcomer.name} "
            "--prune` frees the name"
        )
    if holder is not None and holder.signature and not newcomer.signature:
        return (
            f"{who} was signed by its owner before, and is not now, so no other member would "
            f"believe it; start it with a release that signs, or free the name: `kvgossip "
            f"force-leave {newcomer.name} --prune`"
        )
    if required and not newcomer.identity:
        return (
            f"{who} comes without an identity, and this cluster requires one; start that node "
            "with --identity FILE"
        )
    return ""


def _is_proved(join: Join, newcomer: Member, cluster: str, pool: str) -> bool:
    statement = _statement(cluster, pool, newcomer)
    return _fits(join.identity, join.signature, statement, newcomer)


def is_signed(signature: bytes, member: Member, cluster: str, pool: str) -> bool:
    """True if the owner of the member's identity has signed this life and address. Raises
    MissingPackageError."""
    statement = _record_statement(cluster, pool, member)
    return _fits(signature[:KEY_BYTES], signature[KEY_BYTES:], statement, member)


def _fits(public: bytes, signature: bytes, statement: bytes, member: Member) -> bool:
    require("cryptography", f"the proof of the identity of {member.name!r}")
    if fingerprint_of(public) != member.identity:
        return False
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, statement)
    except (InvalidSignature, ValueError):
        return False
    return True


def _statement(cluster: str, pool: str, member: Member) -> bytes:
    claim = (
        "kvgossip join",
        cluster,
        pool,
        member.name,
        member.site,
        member.generation,
        member.host,
        member.port,
    )
    return msgspec.msgpack.encode(claim)


def _record_statement(cluster: str, pool: str, member: Member) -> bytes:
    """Whoever passes a record on may put the other host first (own_host.py)."""
    claim = (
        "kvgossip member",
        cluster,
        pool,
        member.name,
        member.site,
        member.generation,
        sorted((member.host, member.other_host)),
        member.port,
    )
    return msgspec.msgpack.encode(claim)


def is_of_another(heard: Member, known: Member | None, *, required: bool) -> bool:
    """True if this name belongs to another identity, or has none where one is `required`."""
    if known is not None and known.identity:
        return heard.identity != known.identity
    return required and not heard.identity

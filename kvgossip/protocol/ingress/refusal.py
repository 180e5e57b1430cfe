"""Refusals: the answer to the sender of a frame that is not for this pool, in words that say what
to change (protocol.md section 1).

The header of a frame has fingerprints, not names: it shows whether the frame is of the WAN pool, of
a LAN pool that this node knows, or of another one. Both sides name themselves, the refusing one in
the refusal and the refused one in its log.
"""

from __future__ import annotations

from kvgossip.config import Address
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.wire.frame import FORMAT, format_of, is_of_pool, sealing_key
from kvgossip.protocol.wire.keyring import Keyring

WAN_POOL = "wan"
KEY_REASONS = ("sealed", "unsealed", "unknown_key")

_WORDS = {
    "other_cluster": (
        "it belongs to another cluster; give both the same --cluster, or stop joining them"
    ),
}
_MEET = "datacenters meet through their gateways only, with --gateway and --join-wan"


def of_other_id(theirs: int, ours: int, kind: PoolKind, address: Address) -> str:
    """Why a node of another cluster id is refused: the numbers of both, and where this node is
    reached."""
    wan = "--wan " if kind is PoolKind.WAN else ""
    return (
        f"it belongs to the cluster with the id {theirs:08x}, and this node to the one with "
        f"{ours:08x}; two clusters never merge by themselves. If an operator wants them to be one, "
        f"`kvgossip join {wan}{address} --merge` on a node of {theirs:08x} makes all nodes there "
        f"take over {ours:08x}; if not, stop joining them"
    )


def pool_name(kind: PoolKind, datacenter: str) -> str:
    """A pool in words, as frames carry the fingerprint of: `lan:dc1`, `wan`."""
    return WAN_POOL if kind is PoolKind.WAN else f"lan:{datacenter}"


def refusal_of(
    reason: str,
    data: bytes,
    kind: PoolKind,
    datacenter: str,
    other: Address | None,
    keyring: Keyring | None = None,
) -> str | None:
    """Why a frame is refused and what to change; None where it is better to say nothing.

    `reason`: the gate's, `data`: the frame, `kind` and `datacenter`: of the pool that refuses,
    `other`: where this node is reached in its other pool, None if it has only one.
    """
    if reason in KEY_REASONS:
        return _of_keys(sealing_key(data), reason, keyring)
    if reason == "unknown_format":
        return _of_formats(format_of(data))
    if reason != "other_pool":
        return _WORDS.get(reason)
    return _to_wan(data, datacenter, other) if kind is PoolKind.WAN else _to_lan(data, other)


def _to_lan(data: bytes, wan: Address | None) -> str:
    if not is_of_pool(data, WAN_POOL):
        return (
            "it belongs to the LAN pool of another datacenter; nodes of one LAN pool have the "
            f"same --datacenter, and {_MEET}"
        )
    if wan is None:
        return (
            "it belongs to the WAN pool, and this node is no gateway; join the --wan address "
            "of a node that runs with --gateway"
        )
    return (
        "it belongs to the WAN pool, and this is the LAN address of a gateway; join its WAN "
        f"address, {wan}"
    )


def _to_wan(data: bytes, datacenter: str, lan: Address | None) -> str:
    if lan is not None and is_of_pool(data, pool_name(PoolKind.LAN, datacenter)):
        return (
            f"it belongs to the LAN pool of {datacenter!r}, and this is the WAN address of a "
            f"gateway there; join its LAN address, {lan}"
        )
    return (
        "it belongs to the LAN pool of another datacenter, and this is the WAN address of a "
        f"gateway of {datacenter!r}; {_MEET}"
    )


def _of_formats(theirs: int) -> str:
    older, newer = sorted((theirs, FORMAT))
    return (
        f"it speaks format {theirs} of frames, and this node speaks {FORMAT}, so their releases "
        f"cannot share a cluster: `kvgossip export` from a node of format {older}, `kvgossip "
        f"import` to one of format {newer}, and join nodes of one of the two releases only"
    )


def _of_keys(named: str, reason: str, keyring: Keyring | None) -> str:
    """Lesson 28: a node that missed a rotation hears which key is used, and where to put it."""
    if keyring is None:
        return (
            f"it is sealed with key {named}, and this node has no keyring; start this one with "
            "--keyring FILE, with that key in the file"
        )
    here = f"this node seals with key {keyring.primary}"
    if reason == "unsealed":
        return (
            f"it is not sealed, and {here}; start its node with --keyring FILE, with that key "
            "in the file"
        )
    return (
        f"it is sealed with key {named}, which this node lacks, and {here}. If its node missed a "
        "rotation, put the line of key "
        f"{keyring.primary}, from the keyring file of another member, first into its own file and "
        "restart it; if this node missed one, "
        f"do so here with key {named}. Without a restart: `kvgossip keyring install`, then `use`, "
        "with its --url"
    )

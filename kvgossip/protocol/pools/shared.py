"""Shared: the state that all pools of a replica share; and this node's own record, as its pool
hears it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from kvgossip.config import Address, Config
from kvgossip.protocol.acks.tracker import AckTracker
from kvgossip.protocol.anti_entropy.inspections import Inspections
from kvgossip.protocol.anti_entropy.left_out import LeftOut
from kvgossip.protocol.anti_entropy.survey import Surveys
from kvgossip.protocol.clock_guard import ClockGuard
from kvgossip.protocol.doctor.shell_report import ShellReport
from kvgossip.protocol.ingress.blocklist import Blocklist
from kvgossip.protocol.membership.identity import Identity
from kvgossip.protocol.membership.own_cluster_id import OwnClusterId
from kvgossip.protocol.membership.signed_records import SignedRecords
from kvgossip.protocol.membership.swim import GENERATION_AHEAD_MS_MAX, Membership
from kvgossip.protocol.merging import Merging
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.lag import Lag
from kvgossip.protocol.model.member import Member, MemberState, SyncState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.model.story import Story
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.readiness import Readiness
from kvgossip.protocol.rumors.batches import Batches
from kvgossip.protocol.settling import Settling
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.tombstones import Tombstones
from kvgossip.protocol.typed.body import BODY_FORMAT
from kvgossip.protocol.wire.frame import frame_bytes_max
from kvgossip.protocol.wire.keyring import Keyring
from kvgossip.protocol.wire.message import KeyringOrder, KeyringReport

BEFORE_KVGOSSIP_MS = 1_600_000_000_000
"""In September 2020: a machine that has not heard the time yet may think that it is earlier."""
EPHEMERAL_S = 15
"""How long an ephemeral member is remembered. One that was only cut off is no stranger for long: it
is asked for its record when it pings."""


class OtherPool(Protocol):
    """A pool of a replica, as its other one sees it."""

    @property
    def membership(self) -> Membership: ...

    def is_member(self, name: str) -> bool:
        """True if somebody of this name is alive or suspect there, and not blocked."""


class OtherPools(Protocol):
    """The pools of a replica, as one of them sees the others."""

    def beside(self, kind: PoolKind) -> OtherPool | None:
        """The other one than that; None where there is none."""


class KeyringHandlers(Protocol):
    """The part of a replica that takes orders for keyrings, and reports of them."""

    def on_order(self, order: KeyringOrder, arrival: Arrival, kind: PoolKind) -> None: ...

    def on_report(self, report: KeyringReport, arrival: Arrival, kind: PoolKind) -> None: ...


@dataclass(frozen=True, slots=True)
class Shared:
    """The state that all pools of a replica share."""

    store: Store
    tombstones: Tombstones
    merging: Merging
    settling: Settling
    cluster_id: OwnClusterId
    acks: AckTracker
    batches: Batches
    surveys: Surveys
    inspections: Inspections
    left_out: LeftOut
    clock_guard: ClockGuard
    lag: Lag
    story: Story
    readiness: Readiness
    key_rotation: KeyringHandlers
    blocklist: Blocklist
    #: None: frames are not sealed
    keyring: Keyring | None
    #: None: this node has none of its own
    identity: Identity | None
    pools: OtherPools
    outbox: Outbox
    rng: Random
    #: what is wrong with the data directory, in words; empty where nothing is
    disk_problem: Callable[[], str]
    shell_report: ShellReport

    def sync_state(self) -> SyncState:
        return self.settling.sync_state

    def signed_records_of(self, cluster: str, pool: str) -> SignedRecords:
        """Those of the members of this pool."""
        return SignedRecords(cluster, pool, self.identity)


def next_generation(last: int, now: Now, outbox: Outbox) -> int:
    """The generation of a life after one with the generation `last`, 0 where there was none: a
    greater one. But one that lies years ahead had a wrong clock, and no member has taken it in: it
    is not carried on; unless it is this clock that cannot be right."""
    if last <= now.wall_ms + GENERATION_AHEAD_MS_MAX or now.wall_ms < BEFORE_KVGOSSIP_MS:
        return max(now.wall_ms, last + 1)
    outbox.log(
        "WARNING",
        "an earlier life of this node began years from now, by a clock that was wrong then, or is "
        "now: its generation is not carried on",
    )
    return now.wall_ms


def own_record(
    config: Config,
    address: Address,
    generation: int,
    site: int,
    identity: Identity | None,
    *,
    gateway: bool,
) -> Member:
    """This node, as its pool knows it."""
    return Member(
        name=config.name,
        host=address.host,
        port=address.port,
        state=MemberState.ALIVE,
        generation=generation,
        incarnation=0,
        site=site,
        datacenter=config.datacenter,
        http=str(config.http) if config.http else "",
        zone=config.zone,
        coordinates=config.coordinates,
        identity=identity.fingerprint if identity is not None else b"",
        gateway=gateway,
        frame_bytes_max=frame_bytes_max(config),
        forget_s=math.ceil(
            min(config.forget_after_s, EPHEMERAL_S) if config.ephemeral else config.forget_after_s
        ),
        types=BODY_FORMAT,
    )

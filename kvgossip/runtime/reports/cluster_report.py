"""ClusterReport: the whole cluster as one node sees it, ready for JSON (see cluster.py). The
description of the API is made of these."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta

from kvgossip.protocol.model.member import MemberState, SyncState
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.wire.message import Precision


def _one_of(words: Iterable[str]) -> Meta:
    return Meta(extra_json_schema={"enum": list(words)})


PoolName = Annotated[str, _one_of(each.value for each in PoolKind)]
State = Annotated[str, _one_of(each.name.lower() for each in MemberState)]
Standing = Annotated[str, _one_of(each.name.lower() for each in SyncState)]
Accuracy = Annotated[str, _one_of(each.name.lower() for each in Precision)]


class NotReady(msgspec.Struct, frozen=True):
    """Why a member should not be asked. `code` is for programs."""

    code: str
    text: str


class Said(msgspec.Struct, frozen=True):
    """What a member says of itself. `overload`: why it takes no write; empty where it does.
    `keyring`: ids, the first one seals. `tokens`: the fingerprint of those that its HTTP asks for,
    "none", or empty where it does not say. `waits_for`: for whom the oldest tombstone waits."""

    version: str
    standing: Standing
    keys: int
    entries: int
    not_ready: list[NotReady]
    overload: str
    keyring: list[str]
    tokens: str
    blocked: list[str]
    tombstones_waiting: int
    waits_for: list[str]
    quarantined: int
    suspects: list[str]
    dead: list[str]
    lost: list[str]


class ClusterMember(msgspec.Struct):
    """A member of a pool. `lag_p50_ms`, `lag_p99_ms`: of what it wrote, as it arrived at the node
    that was asked. `same`, `differs_by`: as its data is beside that of this node; None where it did
    not tell. `unequal_s`: for how long probes have shown another root. `age_s`: of `said`; both are
    None where it never said anything. `place_ms`: on a map, where distances are round trips as far
    as a plane has them. `phi`: how sure its silence makes that it is gone (round_trip.py)."""

    name: str
    pool: PoolName
    self: bool
    state: State
    addresses: list[str]
    http: str | None
    datacenter: str
    zone: str
    gateway: bool
    blocked: bool
    rtt_ms: float | None
    rtt_estimate_ms: float | None
    clock_offset_ms: int | None
    lag_p50_ms: float | None
    lag_p99_ms: float | None
    same: bool | None
    differs_by: int | None
    precision: Accuracy | None
    unequal_s: float | None
    answered: bool
    age_s: float | None
    said: Said | None
    place_ms: Annotated[list[float], Meta(min_length=2, max_length=2)] | None = None
    phi: float | None = None


class Suspicion(msgspec.Struct, frozen=True):
    """`by` takes `of` for suspect or dead."""

    pool: PoolName
    by: str
    of: str
    state: State


class Partition(msgspec.Struct, frozen=True):
    """`says` suspects a partition: `groups` are those that it reaches, and those that it lost at
    once. `since_s`: known of the node itself alone."""

    pool: PoolName
    says: str
    since_s: float | None
    groups: list[list[str]]


class ClusterFinding(msgspec.Struct, frozen=True):
    """What the doctor found. `code` is for programs, `command` what to enter; empty where no single
    command helps."""

    code: str
    pool: PoolName
    members: list[str]
    text: str
    command: str = ""

    @property
    def fault(self) -> tuple[str, str, list[str]]:
        """What two findings have in common that are about the same."""
        return self.code, self.pool, self.members


class ClusterReport(msgspec.Struct, frozen=True):
    """`complete`: all reachable members have answered; `equal`: and they have the same data.
    `findings_age_s`: None before the first examination."""

    asked: str
    cluster: str
    datacenter: str
    at_ms: int
    age_s: float
    complete: bool
    equal: bool
    keys: int
    root: str
    members: list[ClusterMember]
    suspicions: list[Suspicion]
    partitions: list[Partition]
    findings: list[ClusterFinding]
    findings_age_s: float | None

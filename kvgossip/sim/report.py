"""Report: the outcome of one run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from kvgossip.sim.checks.violation import Violation


@dataclass(slots=True, kw_only=True)
class Report:
    """Counts of one run. Times are virtual seconds."""

    seed: int
    nodes: int
    datacenters: int = 1
    sealed: bool = False
    trace_hash: str = ""
    converged: bool = False
    #: From the end of the faults and writes until the last change after which all agreed; None if
    #: they never did.
    agreement_time_s: float | None = None
    #: How long that was allowed to take.
    agreement_limit_s: float = 0.0
    #: Until the last tombstone was gone, where that is waited for.
    collect_time_s: float | None = None
    virtual_time_s: float = 0.0
    events: int = 0
    #: All packets sent, and the bytes of their payloads, without IP, UDP and TCP headers.
    messages: int = 0
    bytes: int = 0
    datagrams: int = 0
    frames: int = 0
    lost: int = 0
    duplicated: int = 0
    unreachable: int = 0
    writes: int = 0
    #: Edits of typed keys.
    edits: int = 0
    deletes: int = 0
    #: Records that were dropped, on all nodes, and live values among them.
    collected: int = 0
    quarantined: int = 0
    keys: int = 0
    #: Packets of rumors sent.
    gossips: int = 0
    #: How many were started.
    exchanges: int = 0
    #: Merges that were news, by what carried them.
    news_by_datagram: int = 0
    news_by_frame: int = 0
    news_by_ride: int = 0
    #: Messages of applications on which news rode.
    rides: int = 0
    #: Share of the pairs (key, running node) at the end where the node lacks the newest version
    #: that any running node has.
    residue: float = 0.0
    #: Writes of several keys as one, whose keys count among `writes` and `deletes` too.
    batches: int = 0
    #: Writes that were waited for, by how that ended.
    waits_met: int = 0
    waits_unmet: int = 0
    starts: int = 0
    #: Orders of an operator to merge clusters that a first start in parts has left.
    merges: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    logs: dict[str, int] = field(default_factory=dict)
    violation: Violation | None = None
    #: The last events, one a line.
    trace: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """True if every check held and the cluster agreed in time."""
        return self.violation is None and self.converged

    def as_json(self) -> dict[str, Any]:
        """Plain values; the trace only if there is one."""
        plain = asdict(self)
        plain["violation"] = str(self.violation) if self.violation else None
        if not self.trace:
            del plain["trace"]
        return plain

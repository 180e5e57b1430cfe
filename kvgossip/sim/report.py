"""Report: what came of one run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from kvgossip.sim.checks.invariants import Violation


@dataclass(slots=True, kw_only=True)
class Report:
    """Counts of one run. Times are virtual seconds; `bytes` are payloads of all packets sent,
    without IP, UDP and TCP headers.

    `agreement_time_s`: from the end of the faults and writes until the last change after which all
    agreed; None if they never did. `agreement_limit_s`: what was allowed. `collect_time_s`: until
    the last tombstone was gone, where that is waited for. `collected`: records that were dropped,
    on all nodes, `quarantined`: live values among them. `residue`: share of the pairs (key, running
    node) at the end where the node lacks the newest version that any running node has. `gossips`:
    packets of rumors sent, `exchanges`: how many were started. `batches`: writes of several keys as
    one, whose keys count among `writes` and `deletes` too. `waits_met`, `waits_unmet`: writes that
    were waited for, and how that ended. `news_by_datagram`, `news_by_frame`: merges that were news,
    by what carried them.
    """

    seed: int
    nodes: int
    datacenters: int = 1
    sealed: bool = False
    trace_hash: str = ""
    converged: bool = False
    agreement_time_s: float | None = None
    agreement_limit_s: float = 0.0
    collect_time_s: float | None = None
    virtual_time_s: float = 0.0
    events: int = 0
    messages: int = 0
    bytes: int = 0
    datagrams: int = 0
    frames: int = 0
    lost: int = 0
    duplicated: int = 0
    unreachable: int = 0
    writes: int = 0
    deletes: int = 0
    collected: int = 0
    quarantined: int = 0
    keys: int = 0
    gossips: int = 0
    exchanges: int = 0
    news_by_datagram: int = 0
    news_by_frame: int = 0
    residue: float = 0.0
    batches: int = 0
    waits_met: int = 0
    waits_unmet: int = 0
    starts: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    logs: dict[str, int] = field(default_factory=dict)
    violation: Violation | None = None
    trace: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every check held and the cluster agreed in time."""
        return self.violation is None and self.converged

    def as_json(self) -> dict[str, Any]:
        """Plain values; the trace only if there is one."""
        plain = asdict(self)
        plain["violation"] = str(self.violation) if self.violation else None
        if not self.trace:
            del plain["trace"]
        return plain

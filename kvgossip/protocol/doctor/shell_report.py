"""ShellReport: what the shell around a replica says of itself, for the doctors and surveys of all
members. The machine knows nothing of HTTP, or of caches, and hands it on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kvgossip.protocol.acks.applied import AppliedReports

NO_TOKENS = "none"


@dataclass(slots=True)
class ShellReport:
    """Of one life of a node."""

    #: the fingerprint of the tokens that its HTTP asks for, NO_TOKENS where it asks for none; empty
    #: where nobody has said
    tokens: str = ""
    #: the version of the software
    software: str = ""
    #: why no write is taken now, in words; empty where they are
    overload: Callable[[], str] = str
    #: how many values are in the quarantine
    quarantined: Callable[[], int] = int
    #: what the processes of this machine made of releases
    applied: AppliedReports = field(default_factory=AppliedReports)

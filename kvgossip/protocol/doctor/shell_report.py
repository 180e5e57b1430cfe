"""ShellReport: what the shell around a replica says of itself, for the doctors and surveys of all
members. The machine knows nothing of HTTP, or of caches, and hands it on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from kvgossip.config import Config
from kvgossip.protocol.acks.applied import AppliedReports

NO_TOKENS = "none"


class Host(NamedTuple):
    """What the machine gives this process; see Overview."""

    extras: tuple[str, ...] = ()
    files_max: int = 0
    disk_bytes: int = 0
    disk_free_bytes: int = -1


@dataclass(slots=True)
class ShellReport:
    """Of one life of a node."""

    config: Config
    #: the fingerprint of the tokens that its HTTP asks for, NO_TOKENS where it asks for none; empty
    #: where nobody has said
    tokens: str = ""
    #: the version of the software
    software: str = ""
    #: why no write is taken now, in words; empty where they are
    overload: Callable[[], str] = str
    #: how many values are in the quarantine
    quarantined: Callable[[], int] = int
    host: Callable[[], Host] = Host
    #: what the processes of this machine made of releases
    applied: AppliedReports = field(default_factory=AppliedReports)

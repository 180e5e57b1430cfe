"""Told: what the shell around a replica says of itself, for the doctors of all members."""

from __future__ import annotations

from dataclasses import dataclass

NO_TOKENS = "none"


@dataclass(slots=True)
class Told:
    """Of one life of a node."""

    #: the fingerprint of the tokens that its HTTP asks for, NO_TOKENS where it asks for none; empty
    #: where nobody has said
    tokens: str = ""

"""Finding: one fault of a cluster, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NAMES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `code` is for programs and never changes its meaning, `members` are
    those whom it is about. `command`: what to enter about it, where one command helps; its own
    field, since `text` may repeat words of others."""

    code: str
    pool: str
    members: tuple[str, ...]
    text: str
    command: str = ""


def listed(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    return ", ".join(names[:NAMES_SHOWN]) + (
        f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    )

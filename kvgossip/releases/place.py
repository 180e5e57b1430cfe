"""Place: what a target looks at of a member. By itself, for those who follow a member and load
little."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    name: str
    zone: str

"""Nesting: keys with slashes as mappings within each other, for libraries whose settings are a
tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def nested(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"limits/rate": 20}` as `{"limits": {"rate": 20}}`, of the names under a prefix. A key that
    is both a value and above others is what is below it, on top of the value where that is an
    object."""
    tree: dict[str, Any] = {}
    for name in sorted(values):  # what is above comes first
        if name.startswith(prefix):
            *above, last = name[len(prefix) :].split("/")
            branch = tree
            for part in above:
                below = branch.get(part)
                # a value of the cache is everybody's, and stays as it is
                branch[part] = below = dict(below) if isinstance(below, dict) else {}
                branch = below
            branch[last] = values[name]
    return tree

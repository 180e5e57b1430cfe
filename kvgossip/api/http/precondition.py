"""Conditions: If-Match and If-None-Match of a request (RFC 9110 section 13), read once and asked of
a version.

The version of an entry is its ETag. A condition is checked by the node that got the request, in the
same turn as the write: two writers on one node cannot both win. It is not checked by the cluster: a
write that this node has not heard of yet is not seen.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from kvgossip.api.http.errors import RequestError

_TAG = r'(?:W/)?"[\x21\x23-\x7e]*"'
_TAGS = re.compile(rf"\*|{_TAG}(?:[ \t]*,[ \t]*{_TAG})*")


class Condition(NamedTuple):
    """Each is None, or the tags as they were sent; `*` stands for any version."""

    match: tuple[str, ...] | None
    none_match: tuple[str, ...] | None

    def holds(self, version: str | None) -> bool:
        """True if the request may be done to a key that has this version; None: there is no such
        key."""
        return self.matches(version) and not self.is_known(version)

    def matches(self, version: str | None) -> bool:
        """True if If-Match names it, or there is none. A weak tag never does."""
        return self.match is None or (
            version is not None and ("*" in self.match or f'"{version}"' in self.match)
        )

    def is_known(self, version: str | None) -> bool:
        """True if If-None-Match names it: the client has it already."""
        if self.none_match is None or version is None:
            return False
        return "*" in self.none_match or any(
            tag.removeprefix("W/") == f'"{version}"' for tag in self.none_match
        )


def condition_of(match: str | None, none_match: str | None) -> Condition:
    """From the values of If-Match and If-None-Match. Raises RequestError(400) for what is neither
    `*` nor a list of tags."""
    return Condition(_tags("If-Match", match), _tags("If-None-Match", none_match))


def _tags(name: str, value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not _TAGS.fullmatch(value):
        raise RequestError(
            400,
            f"{name} is not understood",
            f'write {name}: "VERSION", with the quotes, as in the header ETag; or {name}: *',
        )
    return tuple(re.findall(rf"\*|{_TAG}", value))

"""Target: the members that a canary is for.

    zone=paris,share=0.1,member=web-1       any of these

Laws
- Each member judges by itself, from its own name and zone; nobody hands out parts.
- A share is a threshold: a member is in it where the XXH3 (64 bits) of the release's name, a line
  feed and the member's name is below that part of 2^64. So it stays in as others come and go, a
  greater share holds all of a smaller one, and the next release tries its luck with others.
- A share of a few members may hit nobody. Then its writer adds the one with the least hash, by
  name: a trial on nobody proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace
from xxhash import xxh3_64_intdigest

from kvgossip.errors import BadReleaseError
from kvgossip.releases.place import Place

FORMS = "zone=NAME, share=PART (as 0.1, above 0 and up to 1) and member=NAME, separated by commas"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
_HASHES = 2**64


class Target(Struct, frozen=True, omit_defaults=True):
    """Members in one of the zones, or of one of the names, or within the share. Targets are joined
    with `|`."""

    zones: tuple[str, ...] = ()
    share: float = 0.0
    members: tuple[str, ...] = ()

    def hits(self, release: str, member: Place) -> bool:
        return (
            member.zone in self.zones
            or member.name in self.members
            or hash_of(release, member.name) < self.share * _HASHES
        )

    def __or__(self, other: Target) -> Target:
        return Target(
            tuple(dict.fromkeys((*self.zones, *other.zones))),
            max(self.share, other.share),
            tuple(dict.fromkeys((*self.members, *other.members))),
        )

    def __str__(self) -> str:
        return ",".join(
            (
                *(f"zone={name}" for name in self.zones),
                *((f"share={self.share:g}",) if self.share else ()),
                *(f"member={name}" for name in self.members),
            )
        )


def zone(name: str) -> Target:
    """All members of this zone."""
    return Target(zones=(_checked("zone", name),))


def share(part: float) -> Target:
    """This part of all members: 0.1 is about every tenth."""
    if not 0.0 < part <= 1.0:
        raise BadReleaseError(f"a share of {part} is none", "give a part of all members, as 0.1")
    return Target(share=float(part))


def member(name: str) -> Target:
    """The member of this name."""
    return Target(members=(_checked("member", name),))


def parse_target(text: str) -> Target:
    """What str() makes of a target. Raises BadReleaseError."""
    target = Target()
    for part in text.split(","):
        kind, _, value = part.strip().partition("=")
        match kind:
            case "zone":
                target |= zone(value)
            case "share":
                target |= share(_number(value))
            case "member":
                target |= member(value)
            case _:
                raise BadReleaseError(f"{part[:100]!r} names no members", f"there are {FORMS}")
    return target


def hash_of(release: str, member: str) -> int:
    return xxh3_64_intdigest(f"{release}\n{member}".encode())


def hit(target: Target, release: str, members: Iterable[Place]) -> list[str]:
    """The names of those that it hits now, sorted."""
    return sorted(each.name for each in members if target.hits(release, each))


def reaching(target: Target, release: str, members: Iterable[Place]) -> Target:
    """The same target where it hits one of these members at least; a share that does not, with the
    one that it misses by the least. Raises BadReleaseError for zones and names that nobody has."""
    members = list(members)
    if hit(target, release, members):
        return target
    if not target.share or not members:
        zones = sorted({each.zone for each in members if each.zone})
        raise BadReleaseError(
            f"the target {str(target)!r} hits no member that is alive",
            f"the zones of the members are {', '.join(zones)}" if zones else "no member has a zone",
        )
    nearest = min(members, key=lambda each: (hash_of(release, each.name), each.name))
    return replace(target, members=(*target.members, nearest.name))


def _checked(kind: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise BadReleaseError(
            f"{name[:100]!r} is no name of a {kind}", "letters, digits, '.', '_' and '-' are taken"
        )
    return name


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadReleaseError(f"{text[:100]!r} is no share", f"there are {FORMS}") from None

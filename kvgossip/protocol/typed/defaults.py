"""Defaults: the type that new keys of a prefix get, where the write does not name one. A default is
an ordinary key, `.kvgossip/types/PREFIX`, whose value is the name of a type. Whoever takes a write
reads it; no merge does, so that nodes which have not heard of it converge all the same.

Of several prefixes of a key the longest one counts. `lww` says that its keys are plain ones.
"""

from __future__ import annotations

from kvgossip.errors import BadPartError, OtherTypeError
from kvgossip.protocol.typed.body import CHECKS

OWN_PREFIX = ".kvgossip/"
DEFAULTS_PREFIX = f"{OWN_PREFIX}types/"
PLAIN = "lww"
NAMES = (PLAIN, *CHECKS)


def check_default(value: bytes) -> None:
    """Raises BadPartError unless this is the name of a type."""
    if value not in _NAMES:
        raise BadPartError(f"{value[:100].decode(errors='replace')!r} names no type", _HINT)


def default_in(place: str, value: bytes) -> str:
    """The type that keys of a prefix get by the value of this key. Raises OtherTypeError for a name
    that is none here: a newer release may know it."""
    if value not in _NAMES:
        raise OtherTypeError(
            f"the key {place!r} names no type that this node knows", f"{_HINT}, in that key"
        )
    return _NAMES[value]


_NAMES = {name.encode(): name for name in NAMES}
_HINT = f"use one of {', '.join(NAMES)}"

"""Keys: what one may be. Nothing else is imported here: a process that only reads checks its prefix
with it."""

from __future__ import annotations

import re

from kvgossip.errors import BadKeyError

KEY_BYTES_MAX = 1024
_FORBIDDEN_SEGMENT = re.compile(r"(?:^|/)\.\.?(?:/|\Z)")


def check_key(key: str) -> bytes:
    """The key's UTF-8 bytes. Raises BadKeyError unless it is 1 to 1,024 bytes, without a leading
    `/`, a `.` or a `..` segment."""
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        raise BadKeyError("the key is not valid UTF-8") from None
    if not 0 < len(encoded) <= KEY_BYTES_MAX:
        raise BadKeyError(
            f"the key has {len(encoded)} bytes", f"use 1 to {KEY_BYTES_MAX} bytes of UTF-8"
        )
    if key[0] == "/" or ("." in key and _FORBIDDEN_SEGMENT.search(key)):
        raise BadKeyError(
            f"the key {key!r} looks like a path that climbs",
            "leave out a leading '/' and the segments '.' and '..'",
        )
    return encoded

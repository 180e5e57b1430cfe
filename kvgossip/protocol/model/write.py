"""Writes: the values that a client may ask a replica to store, alone or as a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kvgossip.config import Config
from kvgossip.errors import BadBatchError, ValueTooLargeError
from kvgossip.protocol.model.entry import check_content_type, check_flags, check_ttl
from kvgossip.protocol.model.key import check_key

BATCH_ENTRIES_MAX = 256


class Writing(NamedTuple):
    """One write of a batch; `value` None deletes, and has none of the others. `ttl_s`, `flags`: as
    those of a put."""

    key: str
    value: bytes | None
    content_type: str | None = None
    ttl_s: float | None = None
    flags: int = 0


def check_write(key: str, value: bytes, content_type: str | None, config: Config) -> None:
    """Raises BadKeyError, ValueTooLargeError, or LocalError for a bad content type."""
    check_key(key)
    if content_type is not None:
        check_content_type(content_type)
    if len(value) > config.value_bytes_max:
        raise ValueTooLargeError(
            f"the value has {len(value)} bytes", f"value_bytes_max is {config.value_bytes_max}"
        )


def check_batch(writes: Sequence[Writing], edited: Sequence[str], config: Config) -> None:
    """Raises as `check_write` of its parts, LocalError for a bad ttl or flags, and
    BadBatchError. A batch of one is a put, and may be as long as one. `edited`: the keys of its
    other parts."""
    keys = [*edited, *(each.key for each in writes)]
    if not 0 < len(keys) <= BATCH_ENTRIES_MAX:
        raise BadBatchError(f"a batch of {len(keys)} writes", f"1 to {BATCH_ENTRIES_MAX} are taken")
    if len({*keys}) < len(keys):
        raise BadBatchError("a batch writes a key twice", "leave all but its last write out")
    for key in edited:
        check_key(key)
    for each in writes:
        check_write(each.key, each.value or b"", each.content_type, config)
        check_ttl(each.ttl_s)
        check_flags(each.flags)
    size = sum(len(each.value or b"") + len(each.key.encode()) for each in writes)
    if len(writes) > 1 and size > config.message_bytes_max:
        hint = (
            f"{config.message_bytes_max} are taken, which is message_bytes_max; write less at "
            "a time"
        )
        raise ValueTooLargeError(f"the batch has {size} bytes", hint)

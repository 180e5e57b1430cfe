"""From the bytes of a node's entry (protocol/model/entry.py) to a Record, and back again; for who
has a node: a follower loads none of this.

Of a typed record (protocol/typed) a reader gets what it comes to, as JSON, under a content type
that says which type it is, so that who follows can tell a set from a list; of siblings the newest
one, as its writer gave it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import msgspec

from kvgossip.cache.decoding import merged_content_type
from kvgossip.cache.source import Record
from kvgossip.protocol.merging import Outcome
from kvgossip.protocol.model.entry import (
    content_type_in,
    make_record,
    parent_in,
    parse_version,
    value_in,
    version_of,
)
from kvgossip.protocol.typed import siblings
from kvgossip.protocol.typed.body import decode, type_in
from kvgossip.protocol.typed.forms import json_of
from kvgossip.runtime.node import Node

PAGE_KEYS = 1000

log = logging.getLogger("kvgossip")


def record_of(key: str, data: bytes) -> Record:
    type_ = type_in(data)
    if type_ is not None:
        return Record(key, *_shown(type_, data), data=data)
    version, value = version_of(data), value_in(data)
    content_type, parent = content_type_in(data), parent_in(data)
    says_all = make_record(version, value, content_type, parent=parent) == data
    return Record(key, value, str(version), content_type or "", parent, b"" if says_all else data)


def _shown(type_: str, data: bytes) -> tuple[bytes | None, str, str]:
    """What a reader gets of a typed record: value, version and content type."""
    typed, version = decode(data), str(version_of(data))
    if type_ == siblings.TYPE:
        newest = next(iter(siblings.siblings_of(typed, int(time.time() * 1000))), None)
        if newest is None:
            return None, version, ""
        return newest.value, version, newest.content_type or ""
    if typed.deleted:
        return None, version, ""
    return msgspec.json.encode(json_of(typed)), version, merged_content_type(type_)


def bytes_of(record: Record) -> bytes:
    """Those that all nodes have: two bodies under one version would be sent back and forth until
    all nodes have the same one of them. Raises LocalError for what is no version."""
    if record.data:
        return record.data
    version, content_type = parse_version(record.version), record.content_type or None
    return make_record(version, record.value, content_type, parent=record.parent)


async def plant(node: Node, seeds: Sequence[Record]) -> None:
    """Let the node know these, under their versions: older ones than it has, and those that the
    cluster has deleted, are passed over. Raises as `Node.restore`; what it refuses one by one, a
    version ahead of its clock for example, is a line of the log."""
    outcomes = await node.restore([(each.key, bytes_of(each)) for each in seeds])
    if refused := outcomes.count(Outcome.REFUSED):
        log.warning(
            "of %d values that a process of this host had its node refuses %d", len(seeds), refused
        )


def all_records(node: Node, prefix: str) -> list[Record]:
    """Raises NotSettledError."""
    found: list[Record] = []
    after = ""
    while page := node.records(prefix, after, PAGE_KEYS):
        found += [record_of(key, data) for key, data in page]
        after = page[-1][0]
    return found

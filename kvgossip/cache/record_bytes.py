"""From the bytes of a node's entry (protocol/model/entry.py) to a Record, and back again; for who
has a node: a follower loads none of this."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from kvgossip.cache.source import Record
from kvgossip.errors import KVGossipError
from kvgossip.protocol.model.entry import (
    content_type_in,
    make_record,
    parent_in,
    parse_version,
    value_in,
    version_of,
)
from kvgossip.runtime.node import Node

PAGE_KEYS = 1000

log = logging.getLogger("kvgossip")


def record_of(key: str, data: bytes) -> Record:
    return Record(
        key,
        value_in(data),
        str(version_of(data)),
        content_type_in(data) or "",
        parent_in(data),
    )


def bytes_of(record: Record) -> bytes:
    """Those that all nodes have, unless the record is odd: two bodies under one version would be
    sent back and forth until all nodes have the same one of them."""
    version, content_type = parse_version(record.version), record.content_type or None
    return make_record(version, record.value, content_type, parent=record.parent)


def is_odd(record: Record, data: bytes) -> bool:
    """True where the record tells less than these bytes, of which it was made: they expire, or have
    flags."""
    return bytes_of(record) != data


async def plant(node: Node, seeds: Sequence[Record]) -> None:
    """Let the node know these values, none of which is odd, under their versions: older ones than
    it has, and those that the cluster has deleted, are passed over."""
    entries = [(each.key, bytes_of(each)) for each in seeds]
    try:
        await node.restore(entries)
    except KVGossipError as error:
        log.warning("what this process knew is not given to its node: %s; %s", error, error.hint)


def all_records(node: Node, prefix: str) -> list[Record]:
    """Raises NotSettledError."""
    found: list[Record] = []
    after = ""
    while page := node.records(prefix, after, PAGE_KEYS):
        found += [record_of(key, data) for key, data in page]
        after = page[-1][0]
    return found

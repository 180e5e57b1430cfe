"""A typed record of a backup, written anew: one write that supersedes all that is here, and brings
what the backup shows. Its values cannot keep their dots: those may have been deleted since."""

from __future__ import annotations

from kvgossip.protocol.typed import counter, field_map
from kvgossip.protocol.typed.typed_record import DOT_BYTES, TypedRecord, write


def anew(here: TypedRecord, dot: bytes, kept: TypedRecord) -> TypedRecord:
    """The same record where the backup shows nothing. Raises as `write`, and BadPartError where a
    sum needs more than 64 bits."""
    if kept.type == counter.TYPE:
        payloads = [counter.payload_of(counter.total_of(kept.live))] if kept.live else []
    elif kept.type == field_map.TYPE:
        payloads = field_map.payloads_of(kept)
    else:
        payloads = list(dict.fromkeys(value[DOT_BYTES:] for value in kept.live))
    return write(here, dot, payloads, here.values) if payloads else here

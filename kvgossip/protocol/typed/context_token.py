"""The context that a reader is given with what it reads, and gives back with what it writes: what
of each site it has seen under that key. Opaque to clients: KV-Context.

    token := base64url, without padding, of MessagePack [format, hash of the key, pairs]
    pairs := site and timestamp, 8 bytes each, sorted by site

The hash, of 64 bits, is there so that the context of another key is refused in words, and not taken
for one that has seen nothing; it guards against mistakes and nothing else.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from itertools import pairwise

import msgspec
from xxhash import xxh3_64_digest

from kvgossip.errors import BadContextError
from kvgossip.protocol.typed.typed_record import PAIR_BYTES, Seen, TypedRecord, context_of

TOKEN_FORMAT = 1
TOKEN_CHARACTERS_MAX = 65_536
_HINT = "give KV-Context as the answer to a read of this key has it"


def token_of(key: str, record: TypedRecord) -> str:
    """The context of who has read this record."""
    seen = context_of(record)
    pairs = b"".join([site + seen[site] for site in sorted(seen)])
    token = _encode((TOKEN_FORMAT, xxh3_64_digest(key.encode()), pairs))
    return urlsafe_b64encode(token).rstrip(b"=").decode()


def parse_token(token: str, key: str) -> Seen:
    """What the holder of this token has seen. Raises BadContextError for what is none, and for one
    of another key."""
    try:
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise ValueError
        packed = token.encode("ascii")
        number, hashed, pairs = _decode(urlsafe_b64decode(packed + b"=" * (-len(packed) % 4)))
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise BadContextError("this is no context", _HINT) from None
    if number != TOKEN_FORMAT:
        raise BadContextError(f"the context is of format {number}", "read the key again, here")
    if hashed != xxh3_64_digest(key.encode()):
        raise BadContextError("the context is that of another key", _HINT)
    chunks = [pairs[at : at + PAIR_BYTES] for at in range(0, len(pairs), PAIR_BYTES)]
    if len(pairs) % PAIR_BYTES or any(one[:8] >= other[:8] for one, other in pairwise(chunks)):
        raise BadContextError("this is no context", _HINT)
    return {pair[:8]: pair[8:] for pair in chunks}


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, bytes, bytes]).decode

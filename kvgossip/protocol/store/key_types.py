"""KeyTypes: the type that a key has, or that a new one gets by its prefix, and whether a plain
write may go there."""

from __future__ import annotations

from kvgossip.errors import OtherTypeError
from kvgossip.protocol.model.conflicts import parent_of
from kvgossip.protocol.model.entry import MUST_GO, TYPED
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.typed.body import shown_type, type_in
from kvgossip.protocol.typed.defaults import DEFAULTS_PREFIX, OWN_PREFIX, PLAIN, default_in

_MARKED = MUST_GO | TYPED


class KeyTypes:
    def __init__(self, store: Store) -> None:
        self._store = store

    def type_for(self, key: str) -> str | None:
        """The type of the key where it is live, or else the one that keys of its prefix get; None:
        it is a plain one, or of an unknown type."""
        record = self._store.record(key)
        if record is not None and not self._store.is_deleted_or_expired(key, record):
            return type_in(record)
        return self._default_for(key)

    def _default_for(self, key: str) -> str | None:
        """The type that a new key gets by its prefix; None: it is a plain one. Raises
        OtherTypeError."""
        if key.startswith(OWN_PREFIX):
            return None
        place = self._store.live_keys.longest_start_of(DEFAULTS_PREFIX + key, DEFAULTS_PREFIX)
        if place is None:
            return None
        type_ = default_in(place, self._store.value(place) or b"")
        return None if type_ == PLAIN else type_

    def parent(self, key: str, own: bytes, by_default: bool = True) -> bytes:
        """That of a plain write of this key by this site. Raises OtherTypeError where a typed one
        is live, and, where `by_default` says so, for a new key whose prefix has another type."""
        replaced = self._store.record(key)
        if replaced is None:
            if by_default:
                self._check_default(key)
            return b""
        first = replaced[0]
        if first & _MARKED:
            if by_default and self._store.is_deleted_or_expired(key, replaced):
                self._check_default(key)
            if first & TYPED:
                self.check_plain(key, replaced)
        return parent_of(replaced, own)

    def _check_default(self, key: str) -> None:
        type_ = self._default_for(key)
        if type_ is not None:
            raise OtherTypeError(
                f"new keys of this prefix are each a {type_}, and no plain value",
                f"write as that type asks, or change {DEFAULTS_PREFIX}PREFIX",
            )

    def check_plain(self, key: str, replaced: bytes) -> None:
        if not self._store.is_deleted_or_expired(key, replaced):
            raise OtherTypeError(
                f"the key holds {shown_type(replaced)}, and no plain value",
                "delete it first, or write as its type asks",
            )

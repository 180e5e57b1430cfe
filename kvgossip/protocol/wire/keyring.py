"""Keyring: the keys of a node, of which the first seals and all open."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from kvgossip.config import KEY_BYTES, Config
from kvgossip.errors import ConfigError, KeyringError

KEYS_MAX = 16


def key_id(key: bytes) -> str:
    """Eight hexadecimal digits that name a key, and show nothing else of it."""
    return blake2b(key, digest_size=4, person=b"kvgossip key id").hexdigest()


class Keyring:
    """The keys of a node: the first is the primary one and seals, all of them open. Never empty.
    Raises KeyringError.

    Shared by the pools of a node. Its keys are in no text that it makes.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise KeyringError(
                f"a keyring has at least one key, of {KEY_BYTES} bytes each",
                "`kvgossip keygen` makes one",
            )
        self._keys: dict[bytes, bytes] = {}
        for key in keys:
            self.install(key)

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self.ids)})"

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The secrets themselves, the primary one first."""
        return tuple(self._keys.values())

    @property
    def ids(self) -> list[str]:
        """The names of the keys, the primary one first."""
        return [name.hex() for name in self._keys]

    @property
    def primary(self) -> str:
        return next(iter(self._keys)).hex()

    def sealing(self) -> tuple[bytes, bytes]:
        """The id of the primary key as it travels, and the key."""
        return next(iter(self._keys.items()))

    def __bool__(self) -> bool:
        return True

    def find(self, name: bytes) -> bytes | None:
        """The key with these four bytes of id."""
        return self._keys.get(name)

    def become(self, keys: Sequence[bytes]) -> None:
        """Have these keys from now on, and no others."""
        self._keys = Keyring(keys)._keys

    def install(self, key: bytes) -> bool:
        """Take a key, as the last one; true if it was new."""
        name = bytes.fromhex(key_id(key))
        known = self._keys.get(name)
        if known is None and len(self._keys) >= KEYS_MAX:
            raise KeyringError(
                f"the keyring has {KEYS_MAX} keys already",
                "`kvgossip keyring remove` those that nobody uses any more",
            )
        if known not in (None, key):
            raise KeyringError(
                f"the id {name.hex()} of this key is that of another one", "make another key"
            )
        self._keys[name] = key
        return known is None

    def use(self, name: str) -> bool:
        """Make this key the primary one; true if it was not."""
        if name == self.primary:
            return False
        if name not in self.ids:
            raise KeyringError(
                f"there is no key {name}, but {', '.join(self.ids)}",
                "`kvgossip keyring install` it first",
            )
        chosen = bytes.fromhex(name)
        self._keys = {chosen: self._keys.pop(chosen), **self._keys}
        return True

    def remove(self, name: str) -> bool:
        """Drop a key; true if it was there."""
        if name == self.primary:
            raise KeyringError(
                f"the key {name} is the primary one, which seals",
                "`kvgossip keyring use` another one first",
            )
        return name in self.ids and bool(self._keys.pop(bytes.fromhex(name)))


def keyring_of(config: Config) -> Keyring | None:
    """The keys that the configuration itself holds, None where it holds none. Raises ConfigError
    where it names a file, unread."""
    if not config.keyring:
        return None
    if isinstance(config.keyring, str):
        raise ConfigError("the keyring file has not been read")
    return Keyring([bytes.fromhex(key) for key in config.keyring])

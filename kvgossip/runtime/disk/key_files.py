"""The file of a keyring: a key of 64 hexadecimal digits in each line, the primary one first. Text
after a `#` is for people. The file of a node's identity is of the same form.

It is replaced as a whole and made durable before any peer hears of it, so that a node which goes
down at any moment finds the old keyring or the new one. Nobody but its owner, and perhaps its
group, may read it.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from kvgossip.config import KEY_BYTES, KEY_PATTERN, check_no_key
from kvgossip.errors import ConfigError, KeyringError
from kvgossip.protocol.membership.identity import Identity
from kvgossip.protocol.wire.keyring import Keyring, key_id
from kvgossip.runtime.disk.private_file import PRIVATE_FILE

FILE_BYTES_MAX = 64 * 1024
_TITLE = (
    "# A keyring of kvgossip: the first key seals, all of them open. Keep it secret; "
    "`kvgossip keyring` changes it on all nodes."
)
_IDENTITY_TITLE = (
    "# The identity of a node of kvgossip: its name belongs to it. Keep it secret, "
    "and with its node."
)


def read_keys(path: str) -> Keyring:
    """Raises ConfigError where the file cannot be read, is no keyring, or may be read by
    everybody."""
    data = _read(path)
    return parse_keys(data, path)


def read_identity(path: str) -> Identity:
    """The identity in this file, which is made where there is none. Raises ConfigError as
    `read_keys` does."""
    check_no_key("the name of the identity file", path)
    with suppress(FileExistsError):
        try:
            write_keys(path, [secrets.token_bytes(KEY_BYTES)], new=True, title=_IDENTITY_TITLE)
        except FileExistsError:
            raise
        except OSError as error:
            text = f"cannot make the identity file {path}: {error.strerror}"
            raise ConfigError(
                text, "name a file in a directory that this node may write to"
            ) from error
    return Identity(read_keys(path).keys[0])


def _read(path: str) -> bytes:
    check_no_key("the name of the keyring file", path)
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        hint = "name the file of a keyring; `kvgossip keygen FILE` makes one"
        raise ConfigError(f"cannot read the keyring file {path}: {error.strerror}", hint) from error
    if mode & stat.S_IRWXO:
        raise ConfigError(
            f"everybody may read or write the keyring file {path} (mode {stat.S_IMODE(mode):04o})",
            f"make it yours alone: chmod 600 {path}; if others have read it, rotate its keys",
        )
    return data


def parse_keys(data: bytes, path: str) -> Keyring:
    """The keys in the text of a file. Raises ConfigError that names the line, and shows nothing of
    it."""
    keys: list[bytes] = []
    for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if text and not KEY_PATTERN.fullmatch(text):
            raise ConfigError(
                f"line {number} of the keyring file {path} is no key",
                "write 64 hexadecimal digits in each line, the primary key first",
            )
        if text:
            keys.append(bytes.fromhex(text))
    try:
        return Keyring(keys)
    except KeyringError as error:
        raise ConfigError(f"the keyring file {path}: {error}", error.hint) from error


def keep_keys(path: str, keys: Sequence[bytes]) -> str:
    """Write the keys of a running node to its keyring file, for its next life; returns why that was
    not possible, in words. `path`: empty where the configuration itself holds the keys."""
    if not path:
        return (
            "its keys stand in its configuration: change them there too, or it will start with the "
            "old ones"
        )
    try:
        write_keys(path, keys)
    except OSError as error:
        return (
            f"cannot write its keyring file {path} ({error.strerror}): it will start with the old "
            "keys"
        )
    return ""


def write_keys(path: str, keys: Sequence[bytes], *, new: bool = False, title: str = _TITLE) -> None:
    """Replace the file, or make it where it must be `new`, with mode 0600. Raises OSError; then the
    file is what it was."""
    target = Path(path).resolve()
    mode = PRIVATE_FILE if new else stat.S_IMODE(target.stat().st_mode) & ~stat.S_IRWXO
    temporary = target if new else target.with_name(f".{target.name}.{os.getpid()}.new")
    if not new:
        temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(
                "".join(
                    f"{line}\n"
                    for line in (title, *(f"{key.hex()}  # {key_id(key)}" for key in keys))
                )
            )
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        if not new:
            os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

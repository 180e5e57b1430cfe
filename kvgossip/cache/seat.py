"""Seat: the place of the one member of a host, for which its processes race.

A seat is a folder with a lock and a socket. Whoever gets the lock is the member, and listens on the
socket; the others follow there. The kernel frees the lock however the member ends, so there is
never more than one of them, and none is missed for longer than its followers take to race.

The folder is the data directory. Without one it is that of the member in this user's runtime
directory: XDG_RUNTIME_DIR, or a folder of this user's own where temporary files go. It must be this
user's: in another's, he would read and write the data, or be the member.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kvgossip.errors import ConfigError
from kvgossip.runtime.disk.file_lock import FileLock, HeldError
from kvgossip.runtime.disk.private_file import PRIVATE_FILE, PRIVATE_FOLDER

LOCK, SOCKET = "member.lock", "member.sock"
BACKLOG = 128
NAME_CHARACTERS_MAX = 100
ROOT = 0
PATH_BYTES_MAX = 107
CLUSTER = "default"
"""As config/ has these two: not imported, for with them comes all of the configuration."""


def host_name() -> str:
    """The host's name, as far as it can be that of a member: one that stays, whatever the port."""
    kept = "".join(
        each if each.isascii() and each.isalnum() else "-" for each in socket.gethostname()
    )
    return kept[:NAME_CHARACTERS_MAX].strip("-") or "host"


def seat_folder(data_dir: str, cluster: str, name: str) -> str:
    """Where the processes of this host meet that want this data directory (empty: none), or to be
    this member of this cluster."""
    if data_dir:
        return data_dir
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return os.path.join(runtime, f"kvgossip-{cluster}-{name}")
    temporary = os.environ.get("TMPDIR") or "/tmp"
    return os.path.join(temporary, f"kvgossip-{os.geteuid()}-{cluster}-{name}")


class Seat:
    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._lock: FileLock | None = None

    @property
    def looks_taken(self) -> bool:
        """True where somebody is the member, or was until it was killed."""
        return os.path.exists(os.path.join(self.folder, SOCKET))

    def take(self) -> bool:
        """Whether this process is the member from now on. Raises ConfigError where the folder
        cannot be used, or is another user's."""
        try:
            _make_folder(self.folder)
            _check_owner(self.folder)
            self._lock = FileLock(os.path.join(self.folder, LOCK))
        except HeldError:
            return False
        except OSError as error:
            raise ConfigError(
                f"the folder {self.folder} cannot be used: {error.strerror or error}",
                "choose another data_dir; without one, XDG_RUNTIME_DIR names a folder of this user",
            ) from error
        return True

    def listen(self) -> socket.socket:
        """The socket, for who has the seat; one that a killed member left is replaced. Raises
        OSError."""
        with _short(self.folder) as folder:
            path = os.path.join(folder, SOCKET)
            with suppress(FileNotFoundError):
                os.unlink(path)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                listener.bind(path)
                # before anybody can connect
                os.chmod(path, PRIVATE_FILE)
                listener.listen(BACKLOG)
                listener.setblocking(False)
            except BaseException:
                listener.close()
                raise
        return listener

    def connect(self) -> socket.socket:
        """A connection to the member. Raises OSError where there is none yet, ConfigError where the
        folder or the socket is another user's."""
        _check_owner(self.folder)
        with _short(self.folder) as folder:
            path = os.path.join(folder, SOCKET)
            _check_owner(path)
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                # never waits: a backlog that is full is an error
                connection.setblocking(False)
                connection.connect(path)
            except BaseException:
                connection.close()
                raise
        return connection

    def release(self) -> None:
        """Let another process be the member. Harmless when repeated."""
        if self._lock is not None:
            with suppress(OSError):
                os.unlink(os.path.join(self.folder, SOCKET))
            self._lock.release()
            self._lock = None


def _make_folder(folder: str) -> None:
    """Where it is not there; for this user alone."""
    parent = os.path.dirname(folder)
    if parent:
        os.makedirs(parent, exist_ok=True)
    with suppress(FileExistsError):
        os.mkdir(folder, PRIVATE_FOLDER)


def _check_owner(path: str) -> None:
    """Raises ConfigError where another user has made it, or, but for root, a link to it."""
    me, entry, target = os.geteuid(), os.lstat(path), os.stat(path)
    for found, owners in ((target, (me,)), (entry, (me, ROOT))):
        if found.st_uid not in owners:
            raise ConfigError(
                f"{path} belongs to the user {found.st_uid}, and this process to {me}",
                "let all processes of the cache run as one user, or give each user a data_dir",
            )


@contextmanager
def _short(folder: str) -> Iterator[str]:
    """The folder, under a name that leaves room for a socket's: the kernel takes but short ones."""
    if len(os.fsencode(os.path.join(folder, SOCKET))) <= PATH_BYTES_MAX:
        yield folder
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)

"""A small disk of its own, in a file: it can be frozen, filled and broken."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .machine import need_namespaces, need_programs, new_folder, run
from .scenario import UnavailableError

BALLAST_STEPS_BYTES = (1 << 20, 65_536, 4_096)


class SmallDisk:
    """`mount` is where its files are. All of this blocks."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.mount, self._folder, self._image = folder / "mount", folder, folder / "image"
        self.mount.mkdir()
        run("truncate", "-s", f"{megabytes}M", str(self._image))
        run("mkfs.ext4", "-q", "-F", str(self._image))
        self._mount()

    def _mount(self) -> None:
        run("mount", "-o", "loop", str(self._image), str(self.mount))

    def freeze(self) -> None:
        """From now on it takes nothing: who writes waits."""
        run("fsfreeze", "-f", str(self.mount))

    def thaw(self) -> None:
        run("fsfreeze", "-u", str(self.mount))

    @property
    def free_bytes(self) -> int:
        found = os.statvfs(self.mount)
        return found.f_bavail * found.f_frsize

    @property
    def _ballast(self) -> Path:
        return self.mount / "ballast"

    def fill(self, leave_bytes: int = 0) -> None:
        """To the last byte, or until so much is left."""
        octets = self.free_bytes - leave_bytes
        with self._ballast.open("wb") as file:
            for step in BALLAST_STEPS_BYTES:
                with contextlib.suppress(OSError):
                    while not leave_bytes or octets > step:
                        octets -= os.write(file.fileno(), b"\0" * step)

    def empty(self) -> None:
        self._ballast.unlink()

    def break_device(self) -> None:
        """As after an error of the device: ext4 makes itself read-only."""
        run("mount", "-o", "remount,errors=remount-ro", str(self.mount))
        source = run("findmnt", "-no", "SOURCE", str(self.mount)).strip()
        trigger = Path("/sys/fs/ext4") / os.path.basename(source) / "trigger_fs_error"
        trigger.write_text("chaos")

    def repair(self) -> None:
        """Nobody may have a file open on it."""
        run("umount", str(self.mount))
        run("e2fsck", "-fy", str(self._image), check=False)
        self._mount()

    def remove(self) -> None:
        run("fsfreeze", "-u", str(self.mount), check=False)
        run("umount", str(self.mount), check=False)
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def small_disk(name: str, megabytes: int) -> Iterator[SmallDisk]:
    """Raises UnavailableError where none can be made."""
    need_namespaces()
    need_programs(mkfs_ext4="e2fsprogs", fsfreeze="util-linux", mount="mount")
    try:
        disk = SmallDisk(new_folder(f"disk-{name}"), megabytes)
    except RuntimeError as error:
        raise UnavailableError(f"no disk can be made here: {error}") from None
    try:
        yield disk
    finally:
        disk.remove()

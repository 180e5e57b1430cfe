"""Disks that tests may fill, lock and damage."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, bytes_max: int) -> Iterator[Path]:
    """A disk of its own with so little room. Skips where it may not be mounted."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root mounts a small disk")
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={bytes_max}", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"this machine lets nobody mount a small disk: {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(
        ["mount", "-o", f"remount,{options}", str(folder)], check=True, capture_output=True
    )


def flip_a_byte(path: Path, place: int | None = None) -> None:
    """One byte becomes another: in the middle unless told."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if place is None else place] ^= 0xFF
    path.write_bytes(data)


def newest(folder: Path, pattern: str) -> Path:
    """The newest file that the engine has of this kind: their names are numbers that grow."""
    return max(folder.glob(pattern))


class FreezableDisk:
    """A disk of its own, mounted at `folder`, that can be made to hang."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def freeze(self) -> None:
        subprocess.run(["fsfreeze", "--freeze", str(self.folder)], check=True)

    def thaw(self) -> bool:
        """False if it was thawed already."""
        done = subprocess.run(
            ["fsfreeze", "--unfreeze", str(self.folder)], capture_output=True, check=False
        )
        return done.returncode == 0


@contextmanager
def freezable_disk(folder: Path) -> Iterator[FreezableDisk]:
    """Skips where none can be mounted."""
    tools = ("mkfs.ext4", "mount", "fsfreeze")
    if os.geteuid() != 0 or not all(map(shutil.which, tools)):
        pytest.skip(f"only root mounts a disk that can be frozen, with {', '.join(tools)}")
    folder.mkdir()
    image = folder.with_suffix(".img")
    with open(image, "wb") as file:
        file.truncate(64 * 2**20)
    for command in (
        ["mkfs.ext4", "-q", "-F", str(image)],
        ["mount", "-o", "loop", str(image), str(folder)],
    ):
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"this machine mounts no such disk: {done.stderr.decode().strip()}")
    disk = FreezableDisk(folder)
    try:
        yield disk
    finally:
        disk.thaw()
        subprocess.run(["umount", "--lazy", str(folder)], check=True)

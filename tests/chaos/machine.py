"""This machine: the folder of what is left of the runs, programs, and what is missing for them."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from .scenario import UnavailableError

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("CHAOS_FOLDER") or Path(tempfile.gettempdir()) / "kvgossip-chaos")
FAKETIME = "/usr/lib/*/faketime/libfaketime.so.1"


def run(*words: str, check: bool = True) -> str:
    """The standard output of a program. Raises RuntimeError with its standard error."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


@cache
def need_namespaces() -> None:
    """Raises UnavailableError where this process can make no network namespace, or cut nothing in
    it."""
    if os.geteuid() != 0:
        raise UnavailableError("network namespaces need root")
    need_programs(ip="iproute2", iptables="iptables")
    probe = f"chaos-{secrets.token_hex(3)}"
    try:
        run("ip", "netns", "add", probe)
        run("ip", "netns", "exec", probe, "iptables", "-w", "-F", "INPUT")
    except RuntimeError as error:
        raise UnavailableError(f"network namespaces cannot be made or cut here: {error}") from None
    finally:
        run("ip", "netns", "del", probe, check=False)


def need_tun() -> None:
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        raise UnavailableError("there is no /dev/net/tun")


def need_programs(**packages: str) -> None:
    """Raises UnavailableError for the first program that is not here, with its Debian package."""
    for program, package in packages.items():
        if shutil.which(program.replace("_", ".")) is None:
            raise UnavailableError(
                f"there is no {program.replace('_', '.')}: apt-get install {package}"
            )


def faketime_library() -> str:
    """The path of libfaketime. Raises UnavailableError."""
    found = sorted(glob.glob(FAKETIME))
    if not found:
        raise UnavailableError("there is no libfaketime: apt-get install libfaketime")
    return found[0]


def new_folder(name: str) -> Path:
    FOLDER.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=FOLDER))

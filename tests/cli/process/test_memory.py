"""Memory that a process no longer uses goes back to the system."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys

import pytest

from kvgossip.cli.process.memory import shorten_collections

# Freed once, a large block makes glibc keep the next of its size within its heap: with the setting
# it is mapped, as the first one was.
SCRIPT = """
import ctypes
from kvgossip.cli.process.memory import return_large_blocks

NAMES = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"

class MallInfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in NAMES.split()]

def mapped():
    return mallinfo().hblkhd

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = MallInfo
SETTING
bytes(2**20)
before = mapped()
block = bytes(2**20)
print(mapped() - before >= 2**20)
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the allocator is not glibc 2.33 or newer"
)
@pytest.mark.parametrize(
    ("setting", "returned"), [("return_large_blocks()", "True"), ("", "False")]
)
def test_large_blocks_go_back_to_the_system_when_they_are_free(setting: str, returned: str) -> None:
    script = SCRIPT.replace("SETTING", setting)
    assert (
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout.strip()
        == returned
    )


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="the thresholds mean something else there")
def test_a_full_collection_comes_rarely_and_one_of_the_middle_generation_early() -> None:
    now = gc.get_threshold()
    try:
        gc.set_threshold(700, 10, 10)  # of CPython: an agent in this process has set its own
        shorten_collections()
        young, middle, full = gc.get_threshold()
    finally:
        gc.set_threshold(*now)
    assert young == 700
    assert middle < 10
    assert full > 1000

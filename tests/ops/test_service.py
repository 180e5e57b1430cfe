"""ops/kvgossip.service: systemd finds no fault in it, it is confined, and the agent takes its line."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kvgossip.cli.process.agent_process import LEAVE_GRACE_S

UNIT = Path(__file__).parents[2] / "ops" / "kvgossip.service"
SETTINGS = dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))
EXPOSURE_MAX = 2.0
"""Of ten, as `systemd-analyze security` counts: what is left are sockets and its own files."""


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze: apt-get install systemd")
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False
    )


def test_systemd_takes_every_line() -> None:
    done = analyze("verify", str(UNIT))
    assert (done.returncode, done.stderr) == (0, "")


def test_it_is_confined() -> None:
    threshold = f"--threshold={int(EXPOSURE_MAX * 10)}"
    done = analyze("security", "--offline=true", threshold, str(UNIT))
    assert done.returncode == 0, done.stdout


def test_it_waits_longer_than_an_agent_takes_to_leave() -> None:
    assert SETTINGS["Type"] == "notify"
    assert float(SETTINGS["TimeoutStopSec"]) > LEAVE_GRACE_S

"""The tools that this machine lacks: `make test` begins with a line for each, with the tests that are
skipped without it and the Debian packages that bring it.
"""

from __future__ import annotations

import os
import shutil

from tests.docker.base_image import DOCKERFILE, base_tag, can_make, has_image
from tests.docker.cluster import compose_command, has_engine


def lacking() -> list[str]:
    """One line for each tool that is not there."""
    found = [
        _line("taskset", "the tests of benchmarks that pin processes", "util-linux"),
        _line("curl", "the test of the README's lines", "curl"),
        _line("chromium", "tests/browser", "chromium"),
        _line("certutil", "the test of a browser that believes a CA", "libnss3-tools"),
        _line("prometheus", "its scrapes", "prometheus"),
        _line("promtool", "the tests of alerts", "prometheus"),
        _line("systemd-analyze", "the tests of the unit", "systemd"),
    ]
    if os.geteuid() != 0:
        found.append("tests/netns and the tests of full disks are skipped: they need root")
    else:
        found.append(_line("ip", "tests/netns", "iproute2"))
    found.append(_docker())
    return [line for line in found if line]


def _line(tool: str, tests: str, package: str) -> str:
    if shutil.which(tool) is not None:
        return ""
    return f"there is no {tool}: {tests} are skipped; apt-get install {package}"


def _docker() -> str:
    if compose_command() is None or not has_engine():
        return "no Docker engine or no compose: tests/docker is skipped; apt-get install docker.io docker-compose"
    tag = base_tag(DOCKERFILE.read_text())
    if has_image(tag) or can_make():
        return ""
    skipped = "tests/docker is skipped unless the engine can pull it"
    return (
        f"there is no {tag} and no debootstrap to make it: {skipped}; apt-get install debootstrap"
    )


if __name__ == "__main__":
    for line in lacking():
        print(f"make test: {line}")

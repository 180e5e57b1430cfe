"""The real 0.1.0, whose frames have format 1: it is refused, and reads why; so does this release.

Its protocol is a pure machine as well, so it runs in a process of its own, from the sources of that
release, and hears and says bytes.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from kvgossip.protocol.effect import JoinRefused, Send
from tests.protocol.net import address_of, at, logs, make_replica, sends

ROOT = Path(__file__).parents[3]
RELEASE = "d53b26e9f4396bb185cfa8aca2b6031db5f66cd2"
HERE, THERE = address_of(0), address_of(1)
WORDS = (
    "it speaks format 1 of frames, and this node speaks 2",
    "`kvgossip export` from a node of format 1, `kvgossip import` to one of format 2",
)
OLD_NODE = """
import json, sys
from random import Random
from kvgossip.config import Address, Config
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.replica import Replica

told = json.loads(sys.stdin.read())
now, here, there = Now(1000.0, 1_700_000_000_000), Address(*told["here"]), Address(*told["there"])
old = Replica(Config(name="old"), address=there, wan_address=there, rng=Random(1), now=now)
effects = old.join([str(here)], now) + old.resolved(str(here), [here], now)
for data in told["frames"]:
    effects += old.receive(bytes.fromhex(data), here, now, reliable=True)
print(json.dumps([[type(each).__name__, getattr(each, "text", ""), getattr(each, "data", b"").hex()]
    for each in effects]))
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    packed = subprocess.run(
        ["git", "archive", RELEASE, "kvgossip"], cwd=ROOT, capture_output=True, check=False
    )
    if packed.returncode:
        pytest.skip(f"the history of this checkout lacks {RELEASE}: {packed.stderr.decode()}")
    folder = tmp_path_factory.mktemp("release")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def old_node(sources: Path, frames: list[bytes]) -> list[tuple[str, str, bytes]]:
    """What a node of that release does - kind, text and frame of each effect - that asks this one
    to take it in, and then hears these frames over the link."""
    told: dict[str, Any] = {"here": HERE, "there": THERE, "frames": [data.hex() for data in frames]}
    done = subprocess.run(
        [sys.executable, "-c", OLD_NODE],
        input=json.dumps(told).encode(),
        stdout=subprocess.PIPE,
        cwd=sources,
        env={**os.environ, "PYTHONPATH": str(sources)},
        check=True,
    )
    return [(kind, text, bytes.fromhex(data)) for kind, text, data in json.loads(done.stdout)]


@pytest.mark.parametrize("sealed", [False, True])
def test_a_node_of_release_0_1_0_that_joins_is_refused_and_reads_what_to_do(
    sources: Path, sealed: bool
) -> None:
    new = make_replica("new", keyring=("11" * 32,) if sealed else ())
    joins = [data for kind, _, data in old_node(sources, []) if kind == "Send"]
    assert joins
    effects = [each for data in joins for each in new.receive(data, THERE, at(), reliable=True)]
    (warning,) = logs(effects)
    assert all(words in warning for words in WORDS)
    refusals = [sent.data for sent in sends(effects)]
    heard = old_node(sources, refusals)
    for kind in ("Log", "JoinRefused"):
        texts = [text for each, text, _ in heard if each == kind]
        assert any(all(words in text for words in WORDS) for text in texts)
    assert [known.name for known in new.members()] == ["new"]


def test_a_node_that_joins_one_of_release_0_1_0_reads_that_it_is_refused(sources: Path) -> None:
    new = make_replica("new")
    asked = new.join([str(THERE)], at()) + new.resolved(str(THERE), [THERE], at())
    frames = [sent.data for sent in asked if isinstance(sent, Send)]
    answers = [data for kind, _, data in old_node(sources, frames) if kind == "Send"]
    effects = [
        each for data in answers[1:] for each in new.receive(data, THERE, at(), reliable=True)
    ]
    (refused,) = [each for each in effects if isinstance(each, JoinRefused)]
    assert "another format of frames" in refused.text

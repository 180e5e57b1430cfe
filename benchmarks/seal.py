"""What does sealing cost? Frames made and opened again, sealed and plain, in one process.

    python -m benchmarks.seal [--rounds 7] [--seconds 0.2] [--json]

    datagram    one rumor of 100 B, a datagram of rumors filled to 1,400 B
    link        a message of 256 KiB that zstd cannot make smaller

Plain and sealed rounds alternate; the figures are medians of CPU time. `ways/s` is one frame made
by one node and opened by another.
"""

from __future__ import annotations

import argparse
import statistics
import time
from random import Random
from typing import Any

from benchmarks.report import Report, Table, finish
from kvgossip.config import KEY_BYTES
from kvgossip.protocol.wire.frame import Framing
from kvgossip.protocol.wire.keyring import Keyring
from kvgossip.protocol.wire.message import Rumor
from kvgossip.protocol.wire.unit import encode

BYTES_MAX = 2**21


def _framing(site: int, key: bytes | None) -> Framing:
    framing = Framing("bench", "lan:dc1", BYTES_MAX)
    if key is not None:
        framing.seal_with(Keyring([key]), site, 1, 100)
    return framing


def loads() -> dict[str, tuple[list[bytes], bool]]:
    """Units of a frame, and whether it goes over a link, by name."""
    rng = Random(1)
    rumor = [encode(Rumor(f"k{number:06}", rng.randbytes(117))) for number in range(10)]
    return {
        "datagram, 1 rumor": (rumor[:1], False),
        "datagram, full": (rumor, False),
        "link": ([encode(Rumor("k", rng.randbytes(2**18)))], True),
    }


def _rate(units: list[bytes], reliable: bool, key: bytes | None, seconds: float) -> float:
    sender, receiver = _framing(1, key), _framing(2, key)
    ways, began_s = 0, time.process_time()
    while time.process_time() - began_s < seconds:
        for _ in range(20):
            receiver.open(sender.frame(units, reliable=reliable), reliable=reliable)
        ways += 20
    return ways / (time.process_time() - began_s)


def measure(rounds: int, seconds: float) -> list[dict[str, Any]]:
    key, rows = Random(2).randbytes(KEY_BYTES), []
    for name, (units, reliable) in loads().items():
        plain, sealed = [], []
        for _ in range(rounds):
            plain.append(_rate(units, reliable, None, seconds))
            sealed.append(_rate(units, reliable, key, seconds))
        rates = statistics.median(plain), statistics.median(sealed)
        rows.append(
            {
                "frame": name,
                "bytes": len(_framing(1, None).frame(units, reliable=reliable)),
                "plain_per_s": rates[0],
                "sealed_per_s": rates[1],
                "seal_us": 1e6 / rates[1] - 1e6 / rates[0],
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.2, help="CPU time of one round")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    rows = measure(options.rounds, options.seconds)
    title = "frames sealed and opened again, a second of processor time; and what a seal costs"
    finish(Report("seal", [Table(title, rows)]), json=options.json)


if __name__ == "__main__":
    main()

"""Workers that come and go for days, each under a name of its own, beside two nodes that stay.

    python -m tests.protocol.membership.workers [--names 100000] [--lasting]

100,000 names are 72 hours of virtual time; half an hour of one processor. `--lasting`: they are not
ephemeral, so that the gone have to make room.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from random import Random

from tests.protocol.net import Network, address_of

SEED = str(address_of(0))
STAYING = ("a", "b")
SPACING_S = 72 * 3600 / 100_000
AT_ONCE, PLACES, KEYS = 3, 200, 50
QUIET_S = 60.0


@dataclass(slots=True)
class Outcome:
    """Of a run: names that were refused and workers that had not settled when the next one came;
    the most members at a time; and what a write costs and how many tombstones wait, before the
    first worker and after the last one."""

    refused: float = 0
    unsettled: int = 0
    members: int = 0
    write_cost: tuple[float, float] = (0, 0)
    waiting: float = 0


def write_cost(net: Network) -> float:
    """How many packets of rumors a write costs."""

    def count() -> float:
        net.run(5.0)
        return sum(net.replicas[name].statistics()["gossips_sent"] for name in STAYING)

    before = count()
    net.put("a", "cost", b"v")
    return count() - before


def come_and_go(names: int, *, ephemeral: bool, seed: int = 1, members_max: int = 8192) -> Outcome:
    """Half of the workers leave, the others crash; each writes, and some of that is deleted."""
    rng, net, outcome = Random(seed), Network(), Outcome()
    net.cluster(" ".join(STAYING), members_max=members_max)
    before = write_cost(net)
    alive: list[str] = []
    for number in range(names):
        name, place = f"w{number:06}", 2 + number % PLACES
        worker = net.add(name, place, join=(SEED,), ephemeral=ephemeral, members_max=members_max)
        net.put(name, f"k{number % KEYS}", b"v")
        alive.append(name)
        net.run(SPACING_S)
        outcome.unsettled += not worker.settled
        outcome.members = max(outcome.members, len(net.replicas["a"].members()))
        if number % 10 == 0:
            net.delete("a", f"k{rng.randrange(KEYS)}")
        if len(alive) > AT_ONCE:
            _end(net, alive.pop(0), leaves=rng.random() < 0.5)
        if number % 1000 == 999:
            print(f"{number + 1:,} names, {net.time_s / 3600:.1f} h", file=sys.stderr)
    for name in alive:
        _end(net, name, leaves=False)
    net.run(QUIET_S)
    outcome.write_cost = before, write_cost(net)
    for name in STAYING:
        found = net.replicas[name].statistics()
        outcome.refused += found["names_refused"]
        outcome.waiting += found["certificates_waiting"]
    return outcome


def _end(net: Network, name: str, *, leaves: bool) -> None:
    if leaves:
        net.leave(name)
        net.run(0.1)
    net.crash(name)
    net.effects = {staying: [] for staying in net.replicas}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--names", type=int, default=100_000)
    parser.add_argument("--lasting", action="store_true")
    options = parser.parse_args()
    outcome = come_and_go(options.names, ephemeral=not options.lasting)
    print(outcome)
    sys.exit(1 if outcome.refused or outcome.unsettled else 0)


if __name__ == "__main__":
    main()

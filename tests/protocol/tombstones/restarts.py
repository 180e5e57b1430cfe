"""A counter, and a map with one, under restarts: each life of a node that has a disk counts once,
beside two nodes that stay.

    python -m tests.protocol.tombstones.restarts [--restarts 1000]

What is left of the lives then: subtotals, and pairs of what was seen.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

from kvgossip.protocol.tombstones.former_lives import ORPHANS_MIN
from kvgossip.protocol.typed import counter, field_map
from kvgossip.protocol.typed import edit as edits
from kvgossip.protocol.typed.body import decode
from tests.protocol.net import Disk, Network, address_of

SEED = str(address_of(0))
QUIET_S = 30.0


class Outcome(NamedTuple):
    """Of a run, at its end: what the counter and the field show, and of both records how many
    subtotals and pairs they hold."""

    counter: object
    field: object
    subtotals: tuple[int, int]
    pairs: tuple[int, int]


def restart(restarts: int) -> Outcome:
    """Each life counts once, and lasts until nothing waits for a proof."""
    net = Network()
    net.disks["c"] = Disk()
    net.cluster("a b c")
    for life in range(restarts):
        if life:
            net.crash("c")
            net.add("c", 2, join=(SEED,))
            net.until(lambda: net.replicas["c"].settled)
        for key, edit in (("n", edits.add(1)), ("m", edits.add_to_field("f", 1))):
            net.perform("c", net.replicas["c"].edit(key, edit, net.now("c")).effects)
        net.until(lambda: net.converged() and not waiting(net))
    net.run(QUIET_S)
    assert net.converged()
    number, fields = (decode(net.replicas["a"].store[key]) for key in "nm")
    return Outcome(
        counter.total_of(number.live),
        field_map.fields_of(fields)["f"],
        (len(number.live), len(field_map.subtotals(fields))),
        (len(number.seen), len(fields.seen)),
    )


def waiting(net: Network, name: str = "c") -> float:
    return net.replicas[name].statistics()["certificates_waiting"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--restarts", type=int, default=1000)
    outcome = restart(parser.parse_args().restarts)
    print(outcome)
    print(f"a record keeps fewer than {ORPHANS_MIN} subtotals of former lives, and the present one")


if __name__ == "__main__":
    main()

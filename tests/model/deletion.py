"""A small model of deletion by proof (protocol.md section 6), checked by random schedules: what the
rules are worth before they are built. Machines are set back to an earlier memory, disks have holes,
and there may be a liar.

    python -m tests.model.deletion 4000                     thousands of seeds, by hand
    python -m tests.model.deletion 500 own_entry_is_now     a planted mistake: see MISTAKES

One to three datacenters, each with gateways that alone exchange across. Exchanges are atomic here,
apart from being cut off; clocks are one global counter; a crash loses what came after the last
commit.

What is left:
- A machine that is set back, writes, and exchanges with somebody before anybody offers it what it
  lost. Its entry then covers what it lost, and others may take that out: into their quarantine, with
  a warning (`World.false_drops`).
- The word of a liar counts for what it is offered, and it makes up contexts: with one, a deleted
  value is shown again in about one schedule of two hundred. Few of its lies are repeated by others: where a
  machine is set back or comes back, and no longer knows that it had it on another's word
  (`World.passed_on`).
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.model.topology import Topology

MISTAKES = (
    "advance_on_partial",  # entries advance by an exchange that was cut off
    "never_refuse",  # what was collected is taken again
    "own_entry_is_now",  # the own site is covered for ever
    "own_entry_is_a_bound",  # all of the own site up to the last own write is covered
    "hearsay_spreads",  # what was dropped on another's word is "collected" to a third
    "trusts_a_hole",  # a directory that has lost entries keeps its context
    # of another site counts what has come of it, as a version or as its own word: an entry beyond
    "counts_what_came",  # counts up to there
    "waits_for_what_came",  # keeps all that came with it from counting
    "refuses_tombstones_by_dots",  # a made-up dot keeps a tombstone out for good
)


class Version(NamedTuple):
    timestamp: int
    #: one life of a node: a restart is a new site
    site: int
    #: a tombstone
    dead: bool


@dataclass
class Context:
    """Which versions a node has merged: all of a site's up to its entry, and single dots beyond it.
    `seen`: all that had arrived at a site by that clock is here."""

    vector: dict[int, int] = field(default_factory=dict)
    dots: set[tuple[int, int]] = field(default_factory=set)
    seen: dict[int, int] = field(default_factory=dict)

    def covers(self, version: Version) -> bool:
        return (
            self.vector.get(version.site, -1) >= version.timestamp
            or (version.site, version.timestamp) in self.dots
        )

    def join(self, other: Context, own: int) -> None:
        for mine, theirs in ((self.vector, other.vector), (self.seen, other.seen)):
            for site, timestamp in theirs.items():
                if site != own:
                    mine[site] = max(mine.get(site, -1), timestamp)
        self.dots = {dot for dot in self.dots | other.dots if self.vector.get(dot[0], -1) < dot[1]}

    def copy(self) -> Context:
        return Context(dict(self.vector), set(self.dots), dict(self.seen))


@dataclass
class Memory:
    """What a snapshot of a machine, or a commit to its disk, holds."""

    site: int
    store: dict[str, Version]
    context: Context
    members: set[str]
    arrived: dict[str, int]
    own: set[int]
    hearsay: dict[Version, bool]


class Node:
    def __init__(self, name: str, world: World, disk: Memory | None = None) -> None:
        self.name, self.world, self.site = name, world, world.new_site()
        self.store: dict[str, Version] = dict(disk.store) if disk else {}
        self.context = disk.context.copy() if disk else Context()
        self.members: set[str] = set(disk.members) if disk else set()
        self.arrived = {key: world.clock() for key in self.store}
        #: the times of this life's writes
        self.own: set[int] = set()
        #: by site, the newest time of it that came here, for two mistakes
        self.came: dict[int, int] = dict(self.context.vector)
        #: dropped on another's word, and whether somebody has offered it since
        self.hearsay: dict[Version, bool] = dict(disk.hearsay) if disk else {}
        #: versions of hearsay that were taken again
        self.taken: set[Version] = set()
        self.lies = False
        #: what a set-back brings back
        self.memory: Memory | None = None
        self._open()

    def _open(self) -> None:
        #: a gateway's (own clock, what it has seen), newest last
        self.snapshots: list[tuple[int, dict[int, int]]] = []
        #: by member, up to when it holds all that had arrived here
        self.told: dict[str, int] = {}
        #: for the checker alone
        self.deletes_merged: dict[str, set[Version]] = {}
        self.commit()

    def keep_memory(self) -> Memory:
        return Memory(
            self.site,
            dict(self.store),
            self.context.copy(),
            set(self.members),
            dict(self.arrived),
            set(self.own),
            dict(self.hearsay),
        )

    def set_back(self, memory: Memory) -> None:
        self.store, self.context = dict(memory.store), memory.context.copy()
        self.members, self.arrived = set(memory.members), dict(memory.arrived)
        self.own, self.memory = set(memory.own), None
        self.hearsay = dict(memory.hearsay)
        self._open()

    def commit(self) -> None:
        self.disk = self.keep_memory()
        self.disk.context = self.facts()

    def facts(self) -> Context:
        """The context as an exchange that begins now tells it, and as it is committed."""
        told = self.context.copy()
        told.seen[self.site] = self.world.clock()
        if self.world.planted == "own_entry_is_now":
            told.vector[self.site] = self.world.clock()
        elif self.own:
            told.vector[self.site] = max(self.own)
        for version in self.hearsay:
            told.vector[version.site] = min(
                told.vector.get(version.site, -1), version.timestamp - 1
            )
            told.dots.discard((version.site, version.timestamp))
        return told

    def wrote(self, timestamp: int) -> bool:
        if self.world.planted == "own_entry_is_now":
            return True
        if self.world.planted == "own_entry_is_a_bound":
            return timestamp <= max(self.own, default=-1)
        return timestamp in self.own

    def covers(self, version: Version) -> bool:
        if version.site == self.site:
            return self.wrote(version.timestamp)
        return self.context.covers(version)

    def refuses(self, version: Version) -> bool:
        """It was here, and has gone. A tombstone goes for an entry alone: that a dot covers one may
        be a lie, and then it is here and there for good."""
        if self.world.planted == "never_refuse" or not self.covers(version):
            return False
        if not version.dead or self.world.planted == "refuses_tombstones_by_dots":
            return True
        return self.knows_what_deleter_knew(version)

    def begin_life(self, lost: int) -> None:
        """An own version that this life has not written: this machine was set back."""
        old, sure = self.site, max((own for own in self.own if own < lost), default=-1)
        self.context.vector[old] = sure
        self.context.dots |= {(old, own) for own in self.own if own > lost}
        self.site, self.own = self.world.new_site(), set()
        self.arrived = {key: self.world.clock() for key in self.store}
        self.told, self.snapshots = {}, []

    def learn(self, facts: Context, peer: Node) -> None:
        """An exchange with this peer was whole: what its context said at the begin is true here."""
        self.came[peer.site] = self.world.clock()
        if self.world.planted in ("counts_what_came", "waits_for_what_came"):
            bound = {site: min(at, self.came.get(site, -1)) for site, at in facts.vector.items()}
            if self.world.planted == "waits_for_what_came" and bound != facts.vector:
                return
            facts = Context(bound, facts.dots, facts.seen)
        self.context.join(facts, self.site)

    def merge(self, key: str, version: Version) -> str:
        self.came[version.site] = max(self.came.get(version.site, -1), version.timestamp)
        if version.site == self.site and not self.wrote(version.timestamp):
            self.begin_life(version.timestamp)
            return "set back"
        mine = self.store.get(key)
        if mine is None and version in self.hearsay:
            offered, self.hearsay[version] = self.hearsay[version], True
            if not offered:
                return "refused"
            # whoever said so has not told those who hold it: if it is dropped once more, it was true
            del self.hearsay[version]
            self.taken.add(version)
        elif mine is None and self.refuses(version):
            return "collected"
        if not self.covers(version):
            self.context.dots.add((version.site, version.timestamp))
        return self.keep(key, version) if mine is None or version > mine else "known"

    def keep(self, key: str, version: Version) -> str:
        self.store[key], self.arrived[key] = version, self.world.clock()
        if version.dead:
            self.deletes_merged.setdefault(key, set()).add(version)
        else:
            self.world.check_not_revived(self, key, version)
        return "news"

    def told_by(self, peers: set[str]) -> dict[int, int]:
        """What this gateway had seen when all these peers have all that it had then."""
        for clock, seen in reversed(self.snapshots):
            if all(self.told.get(peer, -1) >= clock for peer in peers):
                return seen
        return {}

    def held_for(self, peer: Node) -> int:
        seen = self.context.seen
        if self.world.is_gateway(self.name):
            gateways = {m for m in self.members if self.world.is_gateway(m)} - {self.name}
            plain = self.members - gateways - {self.name}
            seen = self.told_by(plain if self.world.is_gateway(peer.name) else gateways)
        return seen.get(peer.site, -1)

    def write(self, key: str, dead: bool) -> None:
        if dead and key not in self.store:
            return
        version = Version(self.world.clock(), self.site, dead)
        self.own.add(version.timestamp)
        if dead:
            self.world.seen_by_deleter[version] = (self.site, self.context.copy())
        self.keep(key, version)
        self.world.written.setdefault(key, []).append(version)
        self.world.newest[key] = version
        self.commit()

    def knows_what_deleter_knew(self, tombstone: Version) -> bool:
        """An entry, unlike a dot, came through completed exchanges."""
        if tombstone.site == self.site:
            return True
        return self.context.vector.get(tombstone.site, -1) >= tombstone.timestamp

    def collect(self) -> None:
        for key, version in list(self.store.items()):
            if (
                version.dead
                and self.knows_what_deleter_knew(version)
                and all(
                    self.told.get(member, -1) >= self.arrived[key]
                    for member in self.members - {self.name}
                )
            ):
                del self.store[key]
                self.world.collected += 1

    def drop(self, key: str, by: Node) -> None:
        """Take it out, as that node says."""
        version = self.store.pop(key)
        if version.dead:
            return
        self.world.quarantined.setdefault(version, by.name)
        if self.world.planted == "hearsay_spreads" or version in self.taken:
            self.context.dots.add((version.site, version.timestamp))
        else:
            self.hearsay[version] = False
        if by.lies:
            self.world.lied.add(version)
        elif version not in self.world.lied and not self.world.is_dead(key, version):
            self.world.false_drops.add(version)
        elif version in self.world.lied and not self.world.is_dead(key, version):
            self.world.passed_on.add(version)


class World(Topology):
    def __init__(self, seed: int, planted: str = "", liar: bool = False) -> None:
        self.rng, self.planted = random.Random(seed), planted
        self.datacenters = self.rng.choice((1, 1, 2, 3))
        self.liar = liar
        self.now = self.sites = self.collected = self.set_backs = self.holes = 0
        self.written: dict[str, list[Version]] = {}
        #: by key, the last version of all
        self.newest: dict[str, Version] = {}
        self.seen_by_deleter: dict[Version, tuple[int, Context]] = {}
        self.quarantined: dict[Version, str] = {}
        self.lied: set[Version] = set()
        #: those of them that an honest node has repeated
        self.passed_on: set[Version] = set()
        #: live values that went to a quarantine on an honest word
        self.false_drops: set[Version] = set()
        self.faults: list[str] = []
        #: values that are lost, and somebody was told
        self.told_losses: list[str] = []
        self.nodes: dict[str, Node] = {}
        self.down: dict[str, Memory] = {}

    # -- what is lost -----------------------------------------------------------------------------

    def held(self, key: str) -> set[Version]:
        stores = [node.store for name, node in self.nodes.items() if name not in self.down]
        stores += [memory.store for memory in self.down.values()]
        return {store[key] for store in stores if key in store}

    def forget_what_is_nowhere(self) -> None:
        """What the faults took that nobody else held is not asked for."""
        for key, versions in list(self.written.items()):
            held = self.held(key)
            later = max((version.timestamp for version in held), default=-1)
            left = [each for each in versions if each in held or each.timestamp < later]
            left += [each for each in versions if each in self.quarantined and each not in left]
            self.written[key] = left
            if not left:
                del self.written[key]

    # -- the laws ---------------------------------------------------------------------------------

    def killed(self, version: Version, by: Version) -> bool:
        """Whether the writer of the delete `by` had seen `version`: only then must it stay dead."""
        site, context = self.seen_by_deleter[by]
        return by.timestamp > version.timestamp and (
            version.site == site or context.covers(version)
        )

    def is_dead(self, key: str, version: Version) -> bool:
        return self.newest[key] > version

    def check_not_revived(self, node: Node, key: str, version: Version) -> None:
        if any(self.killed(version, by) for by in node.deletes_merged.get(key, ())):
            self.faults.append(f"{node.name} shows {key} again")

    # -- events -----------------------------------------------------------------------------------

    def exchange(self, a: Node, b: Node) -> None:
        facts = {a.name: self.told_facts(a), b.name: self.told_facts(b)}
        keys = sorted(a.store.keys() | b.store.keys())
        self.rng.shuffle(keys)
        cut = self.rng.random() < 0.3
        tombstones: list[tuple[Node, str, Node]] = []
        whole = {a.name: True, b.name: True}
        for key in keys[: len(keys) // 2] if cut else keys:
            for giver, taker in ((a, b), (b, a)):
                version = giver.store.get(key)
                if version is None or version == taker.store.get(key):
                    continue
                outcome = self.offer(giver, taker, key, version)
                if outcome == "set back":
                    return
                whole[taker.name] &= outcome != "refused"
                if outcome == "collected" and version.dead:
                    tombstones.append((giver, key, taker))
                elif outcome == "collected":
                    giver.drop(key, taker)
        for node, peer in ((a, b), (b, a)):
            node.members |= {m for m in {peer.name} | peer.members if self.share_pool(node.name, m)}
            node.snapshots = [*node.snapshots[-9:], (self.clock(), dict(node.context.seen))]
            if (not cut or self.planted == "advance_on_partial") and whole[node.name]:
                node.learn(facts[peer.name], peer)
        for giver, key, taker in tombstones:
            version = giver.store.get(key, Version(0, 0, False))
            if not cut and version.dead and giver.knows_what_deleter_knew(version):
                giver.drop(key, taker)
        self.tell(a, b)
        self.tell(b, a)

    def told_facts(self, node: Node) -> Context:
        facts = node.facts()
        if node.lies:
            made_up = [each for each in self.seen_by_deleter if self.rng.random() < 0.1]
            facts.dots |= {(each.site, each.timestamp) for each in made_up}
        return facts

    def offer(self, giver: Node, taker: Node, key: str, version: Version) -> str:
        if taker.lies and not version.dead and self.rng.random() < 0.2:
            return "collected"
        return taker.merge(key, version)

    def tell(self, a: Node, b: Node) -> None:
        """What a probe's ack carries."""
        a.told[b.name] = b.held_for(a)

    def restart(self, name: str) -> None:
        """Back after any absence, perhaps forgotten meanwhile."""
        disk = self.down.pop(name)
        if disk.store and self.rng.random() < 0.1:
            self.holes += 1
            for key in self.rng.sample(sorted(disk.store), min(2, len(disk.store))):
                del disk.store[key]
            if self.planted != "trusts_a_hole":
                disk.context = Context()
        self.nodes[name] = Node(name, self, disk)
        if self.holes:
            self.forget_what_is_nowhere()

    def snapshot_or_set_back(self, node: Node) -> None:
        if node.memory is None or node.memory.site != node.site:
            node.memory = node.keep_memory()
            return
        self.set_backs += 1
        node.set_back(node.memory)
        self.forget_what_is_nowhere()


def run(seed: int, planted: str = "", liar: bool = False) -> World:
    """The world after this seed's schedule; what broke is in its `faults`."""
    world = World(seed, planted, liar)
    rng, nodes, down = world.rng, world.nodes, world.down
    for number in range(rng.randint(3, 6) + 2 * (world.datacenters - 1)):
        nodes[f"n{number}"] = Node(f"n{number}", world)
    for node in nodes.values():
        node.members = {m for m in nodes if world.share_pool(node.name, m)}
    side = dict.fromkeys(nodes, 0)
    for _ in range(rng.randint(200, 800)):
        _step(world, side)
    for name in list(down):
        world.restart(name)
    _quiesce(world, nodes)
    _check(world, nodes)
    return world


def _step(world: World, side: dict[str, int]) -> None:
    rng, nodes, down = world.rng, world.nodes, world.down
    up = [name for name in nodes if name not in down]
    a, b = rng.choice(up), rng.choice(up)
    nodes[a].lies = world.liar and a == "n1"
    together = a != b and side[a] == side[b] and world.share_pool(a, b)
    roll = rng.random()
    if roll < 0.35:
        nodes[a].write(f"k{rng.randrange(8)}", dead=roll > 0.25)
    elif roll < 0.75 and together:
        world.exchange(nodes[a], nodes[b])
    elif roll < 0.80 and together:
        world.tell(nodes[a], nodes[b])
    elif roll < 0.83 and together and nodes[a].store:  # a rumor: no entry advances
        key = rng.choice(sorted(nodes[a].store))
        version = nodes[a].store[key]
        if world.offer(nodes[a], nodes[b], key, version) == "collected" and not version.dead:
            nodes[a].drop(key, nodes[b])
    elif roll < 0.85:
        nodes[a].commit()
    elif roll < 0.87:
        nodes[a].collect()
    elif roll < 0.91:
        side.update({name: rng.randint(0, 1) if roll < 0.89 else 0 for name in nodes})
    elif roll < 0.94 and len(up) > 1:
        down[a] = nodes[a].disk
        world.forget_what_is_nowhere()
    elif roll < 0.97 and down:
        world.restart(rng.choice(sorted(down)))
    elif roll < 0.975:
        world.snapshot_or_set_back(nodes[a])
    elif roll < 0.985:
        gone = sorted(m for m in nodes[a].members - {a} if m in down or side[m] != side[a])
        if gone:
            nodes[a].members.discard(rng.choice(gone))
    elif len(nodes) < 9 and world.share_pool(f"n{len(nodes)}", a):
        name = f"n{len(nodes)}"
        nodes[name] = Node(name, world)
        side[name] = side[a]
        world.exchange(nodes[name], nodes[a])


def _quiesce(world: World, nodes: dict[str, Node]) -> None:
    for node in nodes.values():
        node.lies = False
    for turn in range(80):
        if turn == 40:  # hearsay is remembered for so long
            for node in nodes.values():
                node.hearsay.clear()
        for name in nodes:
            peers = [m for m in nodes if m != name and world.share_pool(name, m)]
            world.exchange(nodes[name], nodes[world.rng.choice(peers)])
        for a in nodes.values():
            for b in nodes.values():
                if a is not b and world.share_pool(a.name, b.name):
                    world.tell(a, b)
        for node in nodes.values():
            node.collect()


def _check(world: World, nodes: dict[str, Node]) -> None:
    stores = [node.store for node in nodes.values()]
    if any(store != stores[0] for store in stores):
        world.faults.append("not converged")
    for key, versions in world.written.items():
        last, have = max(versions), stores[0].get(key)
        if not last.dead and have != last:
            said = world.told_losses if last in world.quarantined else world.faults
            said.append(f"{key} lost")
        elif last.dead and have is not None and not have.dead and world.killed(have, last):
            world.faults.append(f"{key} alive after its delete")


def main(arguments: list[str]) -> int:
    seeds, planted = int(arguments[0]), (arguments[1:] or [""])[0]
    totals: dict[str, Any] = {"set_backs": 0, "holes": 0, "collected": 0, "quarantined": 0}
    bad: list[tuple[int, bool, str]] = []
    told: list[tuple[int, str]] = []
    false: list[tuple[int, int]] = []
    lies = passed_on = 0
    for seed in range(seeds):
        for liar in (False, True):
            world = run(seed, planted, liar)
            bad += [(seed, liar, fault) for fault in world.faults[:1]]
            told += [(seed, loss) for loss in world.told_losses if not liar]
            lies, passed_on = lies + len(world.lied), passed_on + len(world.passed_on)
            if world.false_drops and not liar:
                false.append((seed, len(world.false_drops)))
            for name in totals:
                value = getattr(world, name)
                totals[name] += value if isinstance(value, int) else len(value)
    print(f"{seeds} seeds, each with a liar and without: {len(bad)} bad {bad[:4]}")
    print(
        f"without a liar: in {len(false)} seeds live values went to a quarantine {false[:6]}, "
        f"{len(told)} were lost there {told[:6]}"
    )
    print(f"with a liar: {lies} values were dropped on its word, {passed_on} on an honest one then")
    print(totals)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

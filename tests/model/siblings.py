"""A model of typed records under all that can happen to nodes: siblings and counters (their join is
typed_record.py), deletes with a context, refusal by dots, pruning by proof, expiry of values.

    python -m tests.model.siblings 100000                     as many schedules, by hand
    python -m tests.model.siblings 100000 no_set_backs        where no machine and no disk is set back
    python -m tests.model.siblings 500 anybody_adopts         a planted mistake: see MISTAKES

One to three datacenters with gateways, as deletion.py has them, whose context this is: the vector
of what each site wrote, dots, and *seen* beside it, which confirms arrivals and covers nothing.
Nodes crash, stay away, are forgotten, lose their disk, and go on from an earlier memory or disk;
their clocks differ. Exchanges are atomic here, apart from being cut.

The rules. A mistake that refutes a draft of one stands behind it.

1.  A join asks the two records and nothing else. A value that one of them lacks was superseded
    there if `seen` of that one covers it. An offered pair is always joined, also one that a row of
    the own context covers: it may have been pruned here, and it may be new. (`ignores_covered_pairs`:
    the row came by an exchange in which the key was alike, the pair with a later rumor: what it
    supersedes stays.)
2.  A rumor carries the record, and nothing of the context of its sender
    (`joins_the_context_of_the_store`: other keys count as collected that were never here).
3.  A write with a context supersedes what that covers. One without adds a sibling, and takes the
    place of those of the same content, whose dots it supersedes one by one: `seen` may cover what
    is in `values`. Readers see equal values once; no join makes one of two
    (`collapses_in_the_join`: the one that went is lost when a delete has seen only the other).
4.  A delete is a write without a value. Its dot stays in the record, beside live siblings too, until
    it is collected: records of equal values are not exchanged, so each pair needs a dot that came
    with it (`deletes_become_pairs`: a member confirms all that arrived, and lacks the pair; and as
    a pair it covers older values of its own site, which the deleter had not seen).
5.  Of an offered record those dots are refused that the record here neither has nor supersedes and
    the context covers; the rest is joined (`refuses_whole_records`: new siblings are dropped with
    old ones. `never_refuses`: what was collected is back). The answer names the dots, and who
    offered takes those out: live values to the quarantine, as hearsay; the dead ones only after a
    whole exchange, once rule 6 lets them go here but for the confirmations.
6.  A pair goes when the own row covers it, and every member that counts has confirmed what had
    arrived here when it came (a later time is as good). A dead dot, which is a delete or an expired
    value, when that holds for it, and the own rows cover all pairs of its record: not when all
    those have gone, for then two nodes whose records differ in it give each other the same pairs
    for ever. (`prunes_by_its_own_row`, `prunes_by_the_rows_of_all`: all have passed what was
    superseded, not all what superseded it. `asks_its_own_datacenter`: a gateway must answer for
    those behind it, not for itself.) What no row will ever cover, since its writer vanished, goes
    after `forget_after_s`.
7.  A dot, or a pair, of this life that it has not written shows that this machine was set back, in
    an offered record, in a context that an exchange tells, and in one that a client brings.
8.  An expiry belongs to a value. A value is hidden when the clock of the node has passed its own;
    then it is a dead dot, which goes by rule 6 once the clock has passed it by as far as clocks may
    differ. The record is dead when all its dots are (`expires_with_its_first`: siblings that were
    to live longer are collected). A live value is dropped on another's word only if it was to live
    longer than anything that may have been collected there for its expiry.
9.  A counter has one cell for each site: a subtotal. The newest cell of a site supersedes the older
    ones by itself, also where their pair was pruned: else a node that was forgotten and comes back
    counts both until it has exchanged. A delete takes the cells that it has seen; one that has grown
    since lives, whole.
10. A cell of a former life is folded into that of the present life of the *same node*, which knows
    it by its own disk: an ordinary write that has seen its dot, once rule 6 holds for that
    dot, and this life has completed an exchange. (`adopts_at_once`: a disk that was set back folds
    what another life of it has folded already. `adopts_twice`: the fold leaves the cell.)
    There is no base that any node folds cells into. (`anybody_adopts`: two nodes that have proof
    both fold a cell, and it counts twice. It cannot be mended by what a base carries: where two sides
    have forgotten each other, each folds the cell that both know and one that only it knows, and
    each prunes that it has. The sums a+x+y and a+x+z say nothing of x any more.) So a life whose
    disk is lost leaves its cell for good: 16 bytes and a number.

What is checked, after each step: a live value leaves a node only if some write had seen it; nothing
that a node once saw superseded is shown there again; no increment counts twice on a node that was
never away nor forgotten. At the end: all nodes have the same values, exactly those
that no write had seen; each increment of which no delete saw a cell counts once, and none twice; no pair and no dead
dot is left.

What is left (`World.amiss`): of a machine that was set back, and writes before anybody offers it
what it lost, the same site has two histories. What its later writes cover goes, as seen, though it
was not, or to a quarantine; and its own newest cell hides the increments that it lost.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable
from itertools import combinations

from tests.model.topology import Topology
from tests.model.typed_node import DRIFT, EMPTY, Memory, Node, Read
from tests.model.typed_record import Cell, Dot, Record, Value

MISTAKES = (
    "ignores_covered_pairs",
    "joins_the_context_of_the_store",
    "collapses_in_the_join",
    "deletes_become_pairs",
    "refuses_whole_records",
    "never_refuses",
    "prunes_by_its_own_row",
    "prunes_by_the_rows_of_all",
    "asks_its_own_datacenter",
    "expires_with_its_first",
    "adopts_at_once",
    "adopts_twice",
    "anybody_adopts",
)


class World(Topology):
    def __init__(self, seed: int, planted: str = "", set_backs: bool = True) -> None:
        self.rng, self.planted, self.set_backs = random.Random(seed), planted, set_backs
        self.datacenters = self.rng.choice((1, 1, 2, 3))
        self.now = self.sites = 0
        self.skews: dict[str, int] = {}
        #: by name, those with which it exchanges, and itself
        self.pools: dict[str, set[str]] = {}
        self.nodes: dict[str, Node] = {}
        self.down: dict[str, Memory] = {}
        self.totals: Counter[str] = Counter()
        #: by key and dot, what was written and what its writer had seen
        self.writes: dict[str, dict[Dot, tuple[Value | Cell | None, frozenset[Dot]]]] = {
            key: {} for key in "abn"
        }
        #: by number
        self.increments: list[Dot] = []
        self.reads: dict[str, list[Read]] = {"a": [], "b": [], "n": []}
        #: what faults took that nobody else held
        self.lost: set[Dot] = set()
        self.collected: set[Dot] = set()
        self.quarantined: set[Dot] = set()
        #: sites that were set back, and what that took though no write had seen it
        self.reverted: set[int] = set()
        self.amiss: set[Dot] = set()
        self.faults: list[str] = []
        self.long_ago = -1

    def draw_skew(self) -> int:
        if self.rng.random() < 0.1:
            return self.rng.randint(-10 * DRIFT, 10 * DRIFT)
        return self.rng.randint(-DRIFT // 2, DRIFT // 2)

    def is_alive(self, site: int) -> bool:
        return any(node.site == site for name, node in self.nodes.items() if name not in self.down)

    def is_forgotten(self, dot: Dot) -> bool:
        return dot.timestamp < self.long_ago and not self.is_alive(dot.site)

    # -- the laws ---------------------------------------------------------------------------------

    def killers(self, key: str, dot: Dot) -> list[Dot]:
        return [by for by, (_, seen) in self.writes[key].items() if dot in seen]

    def check_may_go(self, node: Node, key: str, dot: Dot) -> None:
        """A live value has left a node."""
        if not self.killers(key, dot):
            if dot.site in self.reverted:
                self.amiss.add(dot)
            else:
                self.faults.append(f"{node.name} lost {key}")

    def check_shown(self, node: Node, key: str) -> None:
        if node.sure and any(times > 1 for times in digits(node.store[key].count).values()):
            self.faults.append(f"{node.name} counts twice")
        if any((key, dot) in node.superseded and dot not in node.taken for dot in node.live(key)):
            self.faults.append(f"{node.name} shows {key} again")

    def quarantine(self, node: Node, key: str, dot: Dot) -> None:
        self.quarantined.add(dot)
        self.totals["quarantined"] += 1
        if not self.killers(key, dot):
            if not self.reverted:
                self.faults.append(f"{node.name} dropped {key}")
            self.amiss.add(dot)

    def represented(self) -> set[Dot]:
        """The writes that somebody holds, or has collected, or holds what has replaced them."""
        stores = [node.store for name, node in self.nodes.items() if name not in self.down]
        stores += [memory.store for memory in self.down.values()]
        found = {dot for store in stores for record in store.values() for dot in record.values}
        up = [node for name, node in self.nodes.items() if name not in self.down]
        vectors = [memory.context.vector for memory in self.down.values()]
        found |= {
            dot
            for dot in self.collected
            if any(node.row_covers(dot) for node in up)
            or any(vector.get(dot.site, -1) >= dot.timestamp for vector in vectors)
        }
        for writes in self.writes.values():
            for dot, (_, seen) in sorted(writes.items(), reverse=True):
                if dot in found:
                    found |= seen
        return found

    def fault(self, happen: Callable[[], None]) -> None:
        """What it takes that nobody else holds is not asked for."""
        before = self.represented()
        happen()
        self.lost |= before - self.represented()

    # -- events -----------------------------------------------------------------------------------

    def offer(self, giver: Node, taker: Node, key: str, record: Record) -> list[Dot] | None:
        refused = taker.take(key, record)
        if refused:
            giver.drop(key, refused, taker)
        return refused

    def rumor(self, a: Node, b: Node, key: str) -> None:
        facts = a.facts()
        self.offer(a, b, key, a.store[key])
        if self.planted == "joins_the_context_of_the_store":
            b.context.join(facts, b.site)

    def exchange(self, a: Node, b: Node) -> None:
        facts = {a.name: a.facts(), b.name: b.facts()}
        for node, peer in ((a, b), (b, a)):
            theirs = facts[peer.name]
            lost = max(theirs.vector.get(node.site, -1), -1)
            if lost > max(node.own, default=-1) or theirs.seen.get(node.site, -1) > self.now:
                node.begin_life(lost)
                return
        keys = sorted(a.store.keys() | b.store.keys())
        self.rng.shuffle(keys)
        cut = self.rng.random() < 0.3
        whole = {a.name: True, b.name: True}
        dead: list[tuple[Node, str, list[Dot]]] = []
        for key in keys[: len(keys) // 2] if cut else keys:
            records = {a: a.store.get(key, EMPTY), b: b.store.get(key, EMPTY)}
            if records[a].values == records[b].values:
                continue
            for giver, taker in ((a, b), (b, a)):
                refused = self.offer(giver, taker, key, records[giver])
                if refused is None:
                    return
                whole[taker.name] &= not any(dot in taker.hearsay for dot in records[giver].values)
                dead.append((giver, key, refused))
        for node, peer in ((a, b), (b, a)):
            node.members |= ({peer.name} | peer.members) & self.pools[node.name]
            if not cut and whole[node.name]:
                node.context.join(facts[peer.name], node.site)
                node.settled = True
                for vouching in node.vouching.values():
                    vouching.note(self.clock(), dict(node.context.seen))
        for giver, key, refused in [] if cut else dead:
            giver.drop_dead(key, refused)
        self.tell(a, b)
        self.tell(b, a)

    def tell(self, a: Node, b: Node) -> None:
        """What a probe's ack carries."""
        a.held[b.name] = b.held_for(a)

    def stop(self, name: str) -> None:
        def happen() -> None:
            self.down[name] = self.nodes[name].disk

        self.fault(happen)

    def start(self, name: str) -> None:
        def happen() -> None:
            disk: Memory | None = self.down.pop(name)
            earlier = self.nodes[name].memory
            if self.rng.random() < 0.15:
                disk = None
                self.totals["wipes"] += 1
            elif self.set_backs and earlier and self.rng.random() < 0.2:
                disk = earlier
                self.totals["disks_set_back"] += 1
                self.reverted.add(earlier.site)
            self.nodes[name] = Node(name, self, disk)
            if not disk:
                self.nodes[name].members = set(self.pools[name])

        self.fault(happen)

    def snapshot_or_set_back(self, node: Node) -> None:
        memory = node.memory
        if memory is None or memory.site != node.site or not self.set_backs:
            node.memory = node.keep_memory()
            return
        self.totals["set_backs"] += 1
        self.reverted.add(node.site)
        self.fault(lambda: node.set_back(memory))


def digits(count: int) -> Counter[int]:
    """How many times each increment is in a count: the one of number n adds 4**n."""
    found, number = Counter[int](), 0
    while count > 0:
        if count & 3:
            found[number] = count & 3
        count, number = count >> 2, number + 1
    if count < 0:
        found[-1] = 2
    return found


def run(seed: int, planted: str = "", set_backs: bool = True) -> World:
    """The world after this seed's schedule; what broke is in its `faults`."""
    world = World(seed, planted, set_backs)
    rng = world.rng
    names = [f"n{number}" for number in range(rng.randint(2, 4) + 2 * (world.datacenters - 1))]
    for name in names:
        world.pools[name] = {other for other in names if world.share_pool(name, other)}
        world.nodes[name] = Node(name, world)
        world.nodes[name].members = set(world.pools[name])
        world.nodes[name].sure = True
    side = dict.fromkeys(world.nodes, 0)
    for _ in range(rng.randint(20, 160)):
        _step(world, side)
        if world.faults:
            return world
    for name in list(world.down):
        world.start(name)
    _quiesce(world)
    if not world.faults:
        _check(world)
    return world


def _step(world: World, side: dict[str, int]) -> None:
    rng, nodes, down = world.rng, world.nodes, world.down
    up = [name for name in nodes if name not in down]
    a, b = rng.choice(up), rng.choice(up)
    node = nodes[a]
    together = a != b and side[a] == side[b] and b in world.pools[a]
    roll = rng.random()
    if roll < 0.25:
        _write(world, node)
    elif roll < 0.35:
        world.reads["n"].append(node.read("n"))
        if rng.random() < 0.2:
            node.write("n", None, rng.choice(world.reads["n"][-4:]))
        else:
            node.add("n")
    elif roll < 0.60 and together:
        world.exchange(node, nodes[b])
    elif roll < 0.65 and together:
        world.tell(node, nodes[b])
    elif roll < 0.75 and together and node.store:
        world.rumor(node, nodes[b], rng.choice(sorted(node.store)))
    elif roll < 0.77:
        node.commit()
    elif roll < 0.84:
        node.prune()
    elif roll < 0.87:
        side.update({name: rng.randint(0, 1) if roll < 0.86 else 0 for name in nodes})
    elif roll < 0.90 and len(up) > 1:
        world.stop(a)
    elif roll < 0.94 and down:
        world.start(rng.choice(sorted(down)))
    elif roll < 0.96:
        world.snapshot_or_set_back(node)
    elif roll < 0.98:
        gone = sorted(m for m in node.members - {a} if m in down or side[m] != side[a])
        if gone:
            forgotten = rng.choice(gone)
            node.members.discard(forgotten)
            nodes[forgotten].sure = False
    else:
        world.now += rng.randint(1, 3 * DRIFT)


def _write(world: World, node: Node) -> None:
    """With the context of a read here, of an old read anywhere, or with none."""
    rng, key = world.rng, world.rng.choice("ab")
    world.reads[key].append(node.read(key))
    read = rng.choice([node.read(key), rng.choice(world.reads[key]), Read({}, frozenset())])
    if read.context and rng.random() < 0.3:
        node.write(key, None, read)
        return
    expires = world.now + rng.randint(1, 8 * DRIFT) if rng.random() < 0.3 else None
    node.write(key, Value(f"{rng.randrange(8)}", expires), read)


def _quiesce(world: World) -> None:
    """Everything expires, and whoever has not been heard of is forgotten."""
    nodes = list(world.nodes.values())
    for round_ in range(40):
        world.now += 30 * DRIFT if round_ in (0, 1) else 0
        world.long_ago = world.now if round_ else -1
        for a, b in combinations(nodes, 2):
            if b.name in world.pools[a.name]:
                world.exchange(a, b)
        for node in nodes:
            node.prune()
        if round_ > 2 and not any(node.waits for node in nodes):
            return


def _check(world: World) -> None:
    nodes = list(world.nodes.values())
    stores = [{key: record.values for key, record in node.store.items()} for node in nodes]
    if any(store != stores[0] for store in stores):
        world.faults.append("not converged")
        return
    for key, writes in world.writes.items():
        live = nodes[0].live(key)
        for dot, (value, _) in writes.items():
            if value is None or (isinstance(value, Value) and value.expires):
                continue
            killed = any(by not in world.lost for by in world.killers(key, dot))
            if killed and dot in live:
                world.faults.append(f"{key} is back: {dot}")
            elif killed or dot in live or dot in world.lost | world.quarantined:
                continue
            elif dot.site in world.reverted:
                world.amiss.add(dot)
            else:
                world.faults.append(f"{key} is lost: {dot}")
    _count(world, nodes[0])
    if any(node.waits for node in nodes):
        world.faults.append("pairs or tombstones are left")


def _count(world: World, node: Node) -> None:
    """Whether each increment counts once of which no delete has seen a cell that holds it."""
    writes = world.writes["n"]
    if any(times > 1 for times in digits(node.store.get("n", EMPTY).count).values()):
        world.faults.append("an increment counts twice")
    deleted = [seen for value, seen in writes.values() if value is None]
    for number, dot in enumerate(world.increments):
        cells = {
            each
            for each, (cell, _) in writes.items()
            if isinstance(cell, Cell) and number in digits(cell.total)
        }
        if number not in digits(node.store.get("n", EMPTY).count) and not any(
            cells & seen for seen in deleted
        ):
            if dot.site in world.reverted:
                world.amiss.add(dot)
            elif not cells & (world.lost | world.quarantined):
                world.faults.append("an increment is lost")


def main(arguments: list[str]) -> int:
    count, planted = int(arguments[0]), (arguments[1:] or [""])[0]
    set_backs = "no_set_backs" not in arguments
    planted = "" if planted == "no_set_backs" else planted
    totals: Counter[str] = Counter()
    bad: dict[str, list[int]] = {}
    for seed in range(count):
        world = run(seed, planted, set_backs)
        totals += world.totals
        totals["amiss"] += len(world.amiss)
        totals["writes"] += sum(map(len, world.writes.values()))
        totals["increments"] += len(world.increments)
        totals["collected"] += len(world.collected)
        totals["lost"] += len(world.lost)
        for fault in world.faults[:1]:
            bad.setdefault(fault.partition(":")[0].lstrip("n0123456789"), []).append(seed)
    print(
        f"{count} schedules, {sum(map(len, bad.values()))} bad:",
        {f: (len(s), s[:5]) for f, s in bad.items()},
    )
    print(dict(totals))
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

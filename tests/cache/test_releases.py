"""Releases of a cache over its source: what is written, what is waited for, and what is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

import pytest

from kvgossip.cache.releases import Releases
from kvgossip.cache.resolution import resolve
from kvgossip.cache.source import Applied, NodeApplied, Record, Sink, Survey
from kvgossip.cache.status import NO_STATE
from kvgossip.errors import BadReleaseError, LocalError, Refused, ReleaseConflictError
from kvgossip.protocol.model.write import Writing
from kvgossip.releases.place import Place
from kvgossip.releases.target import share, zone

PREFIX = "shop/"
MEMBERS = tuple(Place(f"m{number}", "paris" if number < 3 else "rome") for number in range(10))


class Cluster:
    """A source whose members all have a process with a cache, unless they are `silent` or `unused`;
    `refuses` says why one refuses a release. What was written comes back to the cache when `deliver`
    is called, or at once."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.delayed: dict[str, Record] | None = None
        self.silent: set[str] = set()
        self.unused: set[str] = set()
        self.refuses: Callable[[str, str], tuple[tuple[str, str], ...]] = lambda node, release: ()
        self.batches: list[list[str]] = []
        self.failing: Exception | None = None
        self.surveys = 0
        self._count = 0

    def open(self, sink: Sink) -> None: ...

    def close(self) -> None: ...

    def report(self, applied: Applied) -> None: ...

    def write(self, writes: Sequence[Writing]) -> Future[tuple[str, ...]]:
        done: Future[tuple[str, ...]] = Future()
        if self.failing is not None:
            done.set_exception(self.failing)
            return done
        versions = list[str]()
        for each in writes:
            self._count += 1
            versions.append(f"{self._count:016x}-{1:016x}")
            arriving = self.records if self.delayed is None else self.delayed
            arriving[each.key] = Record(each.key, each.value, versions[-1])
        self.batches.append([each.key for each in writes])
        done.set_result(tuple(versions))
        return done

    def deliver(self) -> None:
        self.records |= self.delayed or {}
        self.delayed = None

    def survey(self, prefix: str, timeout_s: float) -> Future[Survey]:
        self.surveys += 1
        answers = []
        for each in MEMBERS:
            release = resolve(self.records, PREFIX, *each).release
            refused = self.refuses(each.name, release)
            if each.name not in self.silent | self.unused:
                answers.append(NodeApplied(each.name, release, 0 if refused else 1, refused))
        done: Future[Survey] = Future()
        done.set_result(Survey(tuple(answers), tuple(sorted(self.silent)), MEMBERS))
        return done


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


class Held:
    """What the process that writes has of the cluster; `refuses` says why it takes no release."""

    def __init__(self, cluster: Cluster) -> None:
        self.prefix, self.state = PREFIX, NO_STATE._replace(node="m0")
        self.refuses = ""
        self._cluster = cluster

    def records(self) -> dict[str, Record]:
        return self._cluster.records

    def check_release(self, name: str, values: Mapping[str, Record]) -> None:
        if self.refuses:
            raise Refused(f"{name} with {sorted(values)}: {self.refuses}")


@pytest.fixture
def held(cluster: Cluster) -> Held:
    return Held(cluster)


@pytest.fixture
def releases(cluster: Cluster, held: Held) -> Releases:
    return Releases(lambda: cluster, held)


def test_a_release_is_written_document_first_and_applied_by_all(
    cluster: Cluster, releases: Releases
) -> None:
    release = releases.release({"limits/rate": 20}, "r1")
    assert cluster.batches == [["shop/@release/r1"], ["shop/@active"]]
    outcome = release.wait(5)
    assert (outcome.applied, outcome.refused, outcome.silent) == (
        [each.name for each in MEMBERS],
        [],
        [],
    )
    assert releases.status().active == "r1"
    assert repr(release) == "<Release 'r1' for 10 members>"


def test_a_canary_names_its_members_and_those_that_refuse_it(
    cluster: Cluster, releases: Releases
) -> None:
    releases.release({"rate": 1}, "r1")
    cluster.refuses = lambda node, release: (
        (("rate", "too many"),) if (node, release) == ("m1", "r2") else ()
    )
    cluster.silent, cluster.unused = {"m2"}, {"m0"}
    release = releases.release({"rate": 2}, "r2", zone("paris"))
    # one that runs no cache is nobody to try it on; one that keeps silent may be
    assert release.hits == ("m1", "m2")
    outcome = release.wait(0.0)
    assert (outcome.applied, outcome.refused, outcome.silent) == (
        [],
        [("m1", "rate", "too many")],
        ["m2"],
    )
    status = releases.status()
    assert status.canary is not None
    assert (status.active, status.canary.release, status.names) == ("r1", "r2", ["r1", "r2"])
    assert {each.node: each.state for each in status.members if each.node <= "m3"} == {
        "m0": "unused",
        "m1": "refused",
        "m2": "silent",
        "m3": "applied",
    }
    assert releases.rollback().name == "r1"
    assert releases.status().canary is None


def test_it_is_waited_until_none_is_silent(cluster: Cluster, releases: Releases) -> None:
    cluster.silent = {"m5"}
    release = releases.release({"rate": 1})
    before, survey = cluster.surveys, cluster.survey

    def answering(prefix: str, timeout_s: float) -> Future[Survey]:
        if cluster.surveys > before + 2:
            cluster.silent = set()
        return survey(prefix, timeout_s)

    cluster.survey = answering  # type: ignore[method-assign]
    assert release.wait(60).silent == []
    assert cluster.surveys == before + 4


def test_a_step_knows_what_the_one_before_has_written_before_it_comes_back(
    cluster: Cluster, releases: Releases
) -> None:
    cluster.delayed = {}
    release = releases.release({"rate": 1}, "r1", share(0.2))
    assert cluster.records == {}
    assert release.promote().hits == tuple(each.name for each in MEMBERS)
    cluster.deliver()
    assert releases.status().active == "r1"


def test_a_release_takes_back_itself_and_no_other(cluster: Cluster, releases: Releases) -> None:
    first = releases.release({"rate": 1}, "r1")
    second = releases.release({"rate": 2}, "r2")
    with pytest.raises(ReleaseConflictError, match="'r1' is not the newest"):
        first.rollback()
    assert second.rollback().name == "r1"


def test_what_is_wrong_is_said_and_nothing_is_written(cluster: Cluster, releases: Releases) -> None:
    for values, to in (({"/x": 1}, None), ({"x": 1}, zone("lyon"))):
        with pytest.raises(BadReleaseError):
            releases.release(values, "r1", to)
    with pytest.raises(ReleaseConflictError):
        releases.promote()
    assert cluster.batches == []
    cluster.failing = LocalError("the node does not run")
    with pytest.raises(LocalError, match="does not run"):
        releases.release({"x": 1}, "r1")


def test_what_this_process_would_refuse_is_refused_before_anything_is_written(
    cluster: Cluster, releases: Releases, held: Held
) -> None:
    held.refuses = "too many"
    for to in (None, zone("paris")):
        with pytest.raises(Refused, match=r"r1 with \['a', 'b'\]: too many"):
            releases.release({"a": 1, "b": b"2"}, "r1", to)
    assert cluster.batches == []

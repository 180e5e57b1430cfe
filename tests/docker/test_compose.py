"""Three real containers of the repo's Dockerfile, started by the repo's docker-compose.yml, on a
real bridge network.

Needs a Docker engine, `docker compose` or `docker-compose`, and a way to the base image, and is
skipped without; KVGOSSIP_REQUIRE_DOCKER=1 makes that a failure. `pytest -m docker -s` prints each
step.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from .base_image import NoBaseImageError
from .cluster import (
    IMAGE,
    NAMES,
    Cluster,
    Node,
    build,
    compose_command,
    eventually,
    eventually_on,
    has_engine,
    log_of,
    run,
    step,
)

pytestmark = [pytest.mark.outside, pytest.mark.docker]

GONE = {"left", "dead"}
ALL_ALIVE = dict.fromkeys(NAMES, "alive")


def give_up(missing: str) -> NoReturn:
    """Without what the test needs it is skipped, or fails where it is required."""
    if os.environ.get("KVGOSSIP_REQUIRE_DOCKER") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    compose = compose_command()
    if compose is None or not has_engine():
        give_up(
            "no Docker engine answers"
            if compose
            else "neither `docker compose` nor `docker-compose` works"
        )
    try:
        build()
    except NoBaseImageError as error:
        give_up(str(error))
    cluster = Cluster(compose)
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


@pytest.fixture
def nodes(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[tuple[Node, Node, Node]]:
    """kv1, kv2 and kv3, ready and agreed on who is there. Their logs are printed when the test
    fails."""
    failed_before = request.session.testsfailed
    step(request.node.name)
    first, second, third = cluster.nodes.values()
    try:
        eventually_on((first, second, third), "is ready", Node.is_ready)
        eventually_on((first, second, third), "sees all three alive", sees_all_alive)
        yield first, second, third
    except BaseException:
        print(cluster.logs())
        raise
    if request.session.testsfailed > failed_before:
        print(cluster.logs())


def test_commands_in_a_container_work_as_they_are(
    cluster: Cluster, nodes: tuple[Node, Node, Node]
) -> None:
    cluster.execute("kv1", "kvgossip", "put", "a", "1", "--wait", "all")
    assert cluster.execute("kv3", "kvgossip", "get", "a") == "1"
    assert nodes[0].get("a") == "1"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_line_in_the_log_of_init_works_and_without_its_token_nothing_does(
    cluster: Cluster, nodes: tuple[Node, Node, Node], tmp_path: Path
) -> None:
    told = cluster.log_of("init")
    assert told.count(cluster.access.token) == 1
    (line,) = re.findall(r"^  (curl .*)$", told, re.MULTILINE)
    (tmp_path / "ca.pem").write_text(cluster.access.ca)
    command = [*shlex.split(line), "--silent", "--show-error"]
    assert curl(command, tmp_path).count('"alive"') == 3
    without = [word for word in command if cluster.access.token not in word and word != "-H"]
    assert '"error"' in curl(without, tmp_path)
    assert "alive" not in curl(without, tmp_path)


def curl(command: list[str], directory: Path) -> str:
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=directory, timeout=60
    )
    return done.stdout


def test_containers_can_write_nothing_but_their_volumes_and_gain_no_right(
    cluster: Cluster, nodes: tuple[Node, Node, Node]
) -> None:
    for name in ("init", *NAMES):
        found = json.loads(run("docker", "inspect", cluster.container(name)))[0]["HostConfig"]
        assert found["ReadonlyRootfs"] is True
        assert found["CapDrop"] == ["ALL"]
        assert found["SecurityOpt"] == ["no-new-privileges:true"]
    rights = cluster.execute("kv1", "grep", "-E", "^(Cap|NoNewPrivs|Uid)", "/proc/self/status")
    assert set(re.findall(r"^Cap\w+:\s+(\w+)$", rights, re.MULTILINE)) == {"0" * 16}
    assert re.search(r"^NoNewPrivs:\s+1$", rights, re.MULTILINE)
    assert re.search(r"^Uid:\s+10001\b", rights, re.MULTILINE)


def test_the_image_alone_serves_itself_and_says_the_ways_out(cluster: Cluster) -> None:
    hardened = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    # the health check asks where its command line says
    http = ("agent", "--http", "0.0.0.0:7999")
    container = run("docker", "run", "--detach", *hardened, IMAGE, *http).strip()
    try:
        url = "KVGOSSIP_URL=http://127.0.0.1:7999"
        kvgossip = ("docker", "exec", "--env", url, container, "kvgossip")
        eventually("it serves", lambda: " serves http://" in log_of(container))
        run(*kvgossip, "put", "a", "1")
        assert run(*kvgossip, "get", "a") == "1"
        told = [line for line in log_of(container).splitlines() if "three ways out" in line]
        assert len(told) == 1
        for way in ("--tokens FILE", "--http unix:", "--open-http"):
            assert way in told[0]
        eventually("it is healthy", lambda: health(container) == "healthy")
        # what replaces it has its data
        run("docker", "stop", container)
        read = "kvgossip agent --found & until kvgossip get a 2>/dev/null; do sleep 0.2; done"
        volume = ("--volumes-from", container, "--entrypoint", "sh")
        assert run("docker", "run", "--rm", *hardened, *volume, IMAGE, "-c", read).endswith("1")
    finally:
        run("docker", "rm", "--force", "--volumes", container)


def health(container: str) -> str:
    return run("docker", "inspect", "--format", "{{.State.Health.Status}}", container).strip()


def test_a_write_on_one_node_is_read_on_the_others(nodes: tuple[Node, Node, Node]) -> None:
    first, second, third = nodes
    step("kv1: put greeting")
    first.put("greeting", "hello")
    eventually_on((second, third), "reads it", lambda node: node.get("greeting") == "hello")


def test_a_delete_on_one_node_is_seen_on_the_others(nodes: tuple[Node, Node, Node]) -> None:
    first, second, third = nodes
    step("kv2: put doomed")
    second.put("doomed", "soon gone")
    eventually_on((first, third), "reads it", lambda node: node.get("doomed") == "soon gone")
    step("kv3: delete doomed")
    third.delete("doomed")
    eventually_on((first, second), "no longer reads it", lambda node: node.get("doomed") is None)


def test_a_stopped_node_is_listed_as_gone_and_comes_back_with_all_that_it_missed(
    cluster: Cluster, nodes: tuple[Node, Node, Node]
) -> None:
    first, second, third = nodes
    first.put("before-stop", "1")
    missed = {f"missed-{number}": f"value {number}" for number in range(20)}
    cluster.stop(second)
    eventually_on(
        (first, third),
        "lists kv2 as left or dead",
        lambda node: node.states().get("kv2") in GONE,
        deadline_s=90,
    )
    step("kv1 and kv3: twenty writes while kv2 is away")
    for (key, value), node in zip(missed.items(), (first, third) * 10, strict=True):
        node.put(key, value)
    cluster.start(second)
    eventually("kv2 is ready", second.is_ready)
    expected = {"before-stop": "1", **missed}
    eventually("kv2 has all of it", lambda: second.read(list(expected)) == expected)
    eventually_on(
        (first, third), "sees kv2 alive", lambda node: node.states().get("kv2") == "alive"
    )


def test_nodes_cut_apart_converge_when_the_cut_heals(
    cluster: Cluster, nodes: tuple[Node, Node, Node]
) -> None:
    first, second, outside = nodes
    third = outside.from_inside()  # a published port does not reach a container without a network
    first.put("disputed", "before the cut")
    first.put("deleted-in-the-cut", "before the cut")
    eventually(
        "kv3 reads what was written before the cut",
        lambda: third.get("deleted-in-the-cut") == "before the cut",
    )
    with cluster.cut_off(outside):
        eventually_on(
            (first, second),
            "lists kv3 as dead",
            lambda node: node.states().get("kv3") == "dead",
            deadline_s=90,
        )
        eventually(
            "kv3 lists the others as dead",
            lambda: third.states() == {"kv1": "dead", "kv2": "dead", "kv3": "alive"},
            deadline_s=90,
        )
        write_on_both_sides(first, second, third)
    expected = {
        "here-1": "kv1",
        "here-2": "kv2",
        "there": "kv3",
        "deleted-in-the-cut": None,
        "disputed": "kv2, last",
    }
    eventually_on(
        (first, second, third),
        "has what both sides wrote",
        lambda node: node.read(list(expected)) == expected,
        deadline_s=120,
    )
    eventually_on((first, second, third), "sees all three alive", sees_all_alive, deadline_s=120)
    root = eventually("the three digest roots are one", lambda: common_root((first, second, third)))
    step(f"root: {root}")


def write_on_both_sides(first: Node, second: Node, third: Node) -> None:
    step("both sides of the cut: put, and kv1 deletes")
    first.put("here-1", "kv1")
    first.delete("deleted-in-the-cut")
    third.put("there", "kv3")
    third.put("disputed", "kv3, first")
    second.put("here-2", "kv2")
    second.put("disputed", "kv2, last")
    assert third.read(["here-1", "here-2"]) == {"here-1": None, "here-2": None}, "the cut leaks"
    assert first.get("there") is None, "the cut leaks"


def test_a_second_start_keeps_the_secrets_and_shows_none(
    cluster: Cluster, nodes: tuple[Node, Node, Node]
) -> None:
    before = cluster.access
    cluster.down(volumes=False)
    cluster.up()
    assert cluster.access == before
    eventually_on(cluster.nodes.values(), "is ready", Node.is_ready)
    told = cluster.log_of("init")
    assert before.token not in told
    assert "are kept" in told
    healthy = ["healthy"] * len(NAMES)
    eventually("all are healthy", lambda: [health(cluster.container(n)) for n in NAMES] == healthy)


def sees_all_alive(node: Node) -> bool:
    return node.states() == ALL_ALIVE


def common_root(nodes: tuple[Node, ...]) -> object:
    """The root that all of them have, None while they differ."""
    roots = {node.root() for node in nodes}
    return roots.pop() if len(roots) == 1 else None

"""The repo's own docker-compose.yml under a project name and ports of its own, and the ways to hurt
it.

Everything goes through the tools that an operator has: `docker`, compose, and HTTP.
"""

from __future__ import annotations

import dataclasses
import functools
import http.client
import json
import os
import secrets
import shlex
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from .base_image import ROOT, build_options, ensure_base_image, one_at_a_time

IMAGE = "kvgossip:test"
NAMES = ("kv1", "kv2", "kv3")
HTTP_PORT = 7480
POLL_S = 0.2

# Asks the node from within its container: the only way to a node that is cut off its network.
ASK_INSIDE = f"""
import http.client, os, ssl, sys
method, path = sys.argv[1:]
trust = ssl.create_default_context(cafile=os.environ["KVGOSSIP_CA"])
token = open(os.environ["KVGOSSIP_TOKEN_FILE"]).read().strip()
link = http.client.HTTPSConnection("127.0.0.1", {HTTP_PORT}, timeout=30, context=trust)
shown = {{"Authorization": f"Bearer {{token}}"}}
link.request(method, path, body=sys.stdin.buffer.read() or None, headers=shown)
answer = link.getresponse()
sys.stdout.buffer.write(b"%d " % answer.status + answer.read())
"""

T = TypeVar("T")
_start_s = time.monotonic()


def step(text: str) -> None:
    """One line of the log that `pytest -s` shows."""
    print(f"[{time.monotonic() - _start_s:6.1f} s] {text}", flush=True)


def eventually(what: str, probe: Callable[[], T], deadline_s: float = 60.0) -> T:
    """Ask until the answer is truthy, and return it. Fails with the last answer when the deadline
    passes."""
    begin = time.monotonic()
    while True:
        last: object
        try:
            last = answer = probe()
            if answer:
                step(f"  ok: {what}")
                return answer
        except (OSError, http.client.HTTPException) as error:  # not up yet, or gone for now
            last = error
        if time.monotonic() - begin > deadline_s:
            raise AssertionError(f"not within {deadline_s:.0f} s: {what}; last seen: {last!r}")
        time.sleep(POLL_S)


@dataclass(frozen=True)
class Access:
    """What a client on this machine has of the cluster."""

    ca: str
    """In PEM format."""
    token: str

    @functools.cached_property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.ca)


class Answer(NamedTuple):
    """An HTTP answer, whatever its status."""

    status: int
    body: bytes


@dataclass(frozen=True)
class Node:
    """One container. `inside` has it asked from within, through `docker exec`."""

    name: str
    container: str
    port: int
    access: Access
    inside: bool = False

    def from_inside(self) -> Node:
        return dataclasses.replace(self, inside=True)

    def put(self, key: str, value: str) -> None:
        answer = self._ask("PUT", f"/kv/{key}", value.encode())
        assert answer.status in (200, 201, 204), f"PUT {key} on {self.name}: {answer}"

    def delete(self, key: str) -> None:
        answer = self._ask("DELETE", f"/kv/{key}")
        assert answer.status in (200, 202, 204), f"DELETE {key} on {self.name}: {answer}"

    def get(self, key: str) -> str | None:
        """The value, or None where there is none."""
        answer = self._settled("GET", f"/kv/{key}")
        assert answer.status in (200, 404), f"GET {key} on {self.name}: {answer}"
        return answer.body.decode() if answer.status == 200 else None

    def read(self, keys: Sequence[str]) -> dict[str, str | None]:
        return {key: self.get(key) for key in keys}

    def is_ready(self) -> bool:
        return self._ask("GET", "/readyz").status == 200

    def states(self) -> dict[str, str]:
        """The members as this node sees them: name to state."""
        return {member["name"]: member["state"] for member in self._json("/members")["members"]}

    def root(self) -> object:
        """The fingerprint of all that the node holds."""
        return self._json("/status")["root"]

    def _json(self, path: str) -> Any:
        answer = self._settled("GET", path)
        assert answer.status == 200, f"GET {path} on {self.name}: {answer}"
        return json.loads(answer.body)

    def _settled(self, method: str, path: str) -> Answer:
        """An answer that is not "ask again later": for `eventually` that is the same as no
        answer."""
        answer = self._ask(method, path)
        if answer.status == 503:
            raise ConnectionError(
                f"{self.name} is not settled: {answer.body.decode(errors='replace')}"
            )
        return answer

    def _ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        return (
            self._ask_inside(method, path, body)
            if self.inside
            else self._ask_outside(method, path, body)
        )

    def _ask_outside(self, method: str, path: str, body: bytes) -> Answer:
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.port}{path}",
            data=body or None,
            method=method,
            headers={
                "Content-Type": "text/plain",
                "Authorization": f"Bearer {self.access.token}",
            },
        )
        # Without a proxy, whatever the environment says: the node is on this machine.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=self.access.trust),
        )
        try:
            with opener.open(request, timeout=30) as reply:
                return Answer(reply.status, reply.read())
        except urllib.error.HTTPError as reply:
            with reply:
                return Answer(reply.code, reply.read())

    def _ask_inside(self, method: str, path: str, body: bytes) -> Answer:
        command = [
            "docker",
            "exec",
            "--interactive",
            self.container,
            "python",
            "-c",
            ASK_INSIDE,
            method,
            path,
        ]
        done = subprocess.run(command, check=False, input=body, capture_output=True, timeout=60)
        if done.returncode != 0:
            raise ConnectionError(
                f"{self.name}: {done.stderr.decode(errors='replace').strip()[-300:]}"
            )
        status, _, rest = done.stdout.partition(b" ")
        return Answer(int(status), rest)


def eventually_on(
    nodes: Iterable[Node], what: str, probe: Callable[[Node], object], deadline_s: float = 60.0
) -> None:
    """`eventually`, for one node after the other."""
    for node in nodes:
        eventually(f"{node.name} {what}", functools.partial(probe, node), deadline_s)


class Cluster:
    """kv1, kv2 and kv3, from `up` to `down`."""

    def __init__(self, compose: Sequence[str]) -> None:
        self.project = f"kvgossip-test-{secrets.token_hex(4)}"
        self._ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
        self._compose = [
            *compose,
            "--file",
            str(ROOT / "docker-compose.yml"),
            "--project-name",
            self.project,
        ]
        self._environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("COMPOSE_", "KVGOSSIP_"))
        }
        self._environment |= {"KVGOSSIP_IMAGE": IMAGE} | {
            f"{name.upper()}_PORT": str(port) for name, port in self._ports.items()
        }
        self.nodes: dict[str, Node] = {}

    def up(self) -> None:
        """Start the containers of the image that `build` left. Returns before they are ready."""
        step(f"compose up, project {self.project}, ports {list(self._ports.values())}")
        self._run("up", "--detach", "--no-build")
        self.access = Access(
            ca=self.execute("kv1", "cat", "/etc/kvgossip/ca.pem"),
            token=self.execute("kv1", "cat", "/etc/kvgossip/token").strip(),
        )
        self.nodes = {
            name: Node(name, self.container(name), port, self.access)
            for name, port in self._ports.items()
        }

    def down(self, *, volumes: bool = True) -> None:
        step("compose down")
        more = ("--volumes",) if volumes else ()
        self._run("down", *more, "--remove-orphans", "--timeout", "5")

    def container(self, service: str) -> str:
        """Its id. One that has ended is found, too."""
        found = self._run("ps", "--all", "--quiet", service).strip()
        assert found, f"{service} has no container"
        return found

    def execute(self, service: str, *command: str) -> str:
        """What the command prints, within the service's container."""
        return self._run("exec", "-T", service, *command)

    def log_of(self, service: str) -> str:
        return log_of(self.container(service))

    def stop(self, node: Node) -> None:
        step(f"stop {node.name}")
        self._run("stop", node.name)

    def start(self, node: Node) -> None:
        step(f"start {node.name}")
        self._run("start", node.name)

    @contextmanager
    def cut_off(self, node: Node) -> Iterator[None]:
        """The node without its network; afterwards with it again, under the same name."""
        network = self._network(node)
        step(f"cut {node.name} off {network}")
        run("docker", "network", "disconnect", network, node.container)
        try:
            yield
        finally:
            step(f"connect {node.name} again")
            run("docker", "network", "connect", "--alias", node.name, network, node.container)

    def logs(self) -> str:
        return self._run("logs", "--no-color", "--timestamps", "--tail", "200") + self._run("ps")

    def _network(self, node: Node) -> str:
        networks = json.loads(
            run(
                "docker",
                "inspect",
                "--format",
                "{{json .NetworkSettings.Networks}}",
                node.container,
            )
        )
        (network,) = networks
        return str(network)

    def _run(self, *arguments: str) -> str:
        return run(*self._compose, *arguments, environment=self._environment)


def build() -> None:
    """Build the Dockerfile as IMAGE, on a base image that is made when there is none."""
    with one_at_a_time():
        ensure_base_image(step)
        step(f"docker build, tag {IMAGE}")
        run("docker", "build", *build_options(), "--tag", IMAGE, str(ROOT))
    size = int(run("docker", "image", "inspect", "--format", "{{.Size}}", IMAGE))
    step(f"  ok: built, {size / 1e6:.0f} MB")


def compose_command() -> list[str] | None:
    """Compose as this machine has it, None where it has none."""
    commands = (["docker", "compose"], ["docker-compose"])
    return next((command for command in commands if _works(*command, "version")), None)


def has_engine() -> bool:
    return _works("docker", "version", "--format", "{{.Server.Version}}")


def run(*command: str, environment: dict[str, str] | None = None) -> str:
    """The command's output. A command that fails is a failure of the test, with all that it
    said."""
    done = subprocess.run(
        command,
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        raise AssertionError(
            f"{shlex.join(command)} exited "
            f"{done.returncode}\n{done.stdout[-8000:]}{done.stderr[-8000:]}"
        )
    return done.stdout


def log_of(container: str) -> str:
    """All that it printed, on both streams."""
    command = ["docker", "logs", container]
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ).stdout


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nothing listens on now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(one.getsockname()[1]) for one in sockets]


def _works(*command: str) -> bool:
    return (
        shutil.which(command[0]) is not None
        and subprocess.run(command, check=False, capture_output=True).returncode == 0
    )

"""The image that the Dockerfile starts FROM, also where no registry can be reached.

Where the engine lacks the image and this machine has debootstrap, `ensure_base_image` makes one out
of Debian's packages: the same distribution, the same Python, the same names `python` and `python3`.
Elsewhere the engine pulls the real one. `build_options` tells a build where this machine finds its
packages: nothing of it stays in the image.

`python tests/docker/base_image.py` makes the image and prints a `docker build` command that works
here.
"""

from __future__ import annotations

import ast
import contextlib
import fcntl
import ipaddress
import os
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "Dockerfile"

PACKAGES = ("python3", "python3-venv", "ca-certificates")
"""python3-venv brings ensurepip, and so pip, into every venv. Only the image's own dependencies
follow: no compiler."""

LEFT_OUT = (
    "dev/*",
    "proc/*",
    "sys/*",
    "run/*",
    "tmp/*",
    "var/cache/apt/*",
    "var/lib/apt/lists/*",
    "var/log/*",
)
ALSO_LEFT_OUT = ("usr/share/doc/*", "usr/share/man/*", "usr/share/locale/*", "usr/share/info/*")

IMAGE_SETTINGS = (
    # `ENV PATH=...:$PATH` of a Dockerfile finds nothing to expand in an imported image, unless we
    # say it here.
    "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
    "ENV LANG=C.UTF-8",
    'CMD ["python3"]',
    "LABEL kvgossip.base=debootstrap",
)

PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "default-timeout")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")

BUNDLE = Path("etc/ssl/certs/ca-certificates.crt")

Log = Callable[[str], None]


class BaseImageError(Exception):
    """The base image cannot be made. The text says what failed."""


class NoBaseImageError(BaseImageError):
    """There is nothing to make it of: no registry that answers, and no debootstrap."""


def ensure_base_image(log: Log = print) -> None:
    """Leave the engine with the Dockerfile's base image. Raises BaseImageError, NoBaseImageError
    where this machine has no way to it."""
    tag = base_tag(DOCKERFILE.read_text())
    if has_image(tag):
        log(f"base image {tag}: the engine has it")
    elif not can_make():
        log(f"base image {tag}: the engine lacks it, pulling it")
        pulled = _run("docker", "pull", "--quiet", tag)
        if pulled.returncode != 0:
            text = (
                f"the base image {tag} cannot be pulled, and to make it out of Debian's "
                "packages takes root and debootstrap"
            )
            raise NoBaseImageError(f"{text}: {' '.join(pulled.stderr.split())[:300]}")
    else:
        log(f"base image {tag}: the engine lacks it, making one out of Debian's packages")
        _make(tag)
        log(f"base image {tag}: made")


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Tests in parallel processes must not make the same image twice: the second waits here, and
    finds it made."""
    with open(Path(tempfile.gettempdir(), f"kvgossip-image.{os.getuid()}.lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def base_tag(dockerfile: str) -> str:
    """The one image outside of the Dockerfile that its FROM lines name."""
    stages = set(re.findall(r"^FROM\s+\S+\s+AS\s+(\S+)", dockerfile, re.MULTILINE | re.IGNORECASE))
    tags = set(re.findall(r"^FROM\s+(\S+)", dockerfile, re.MULTILINE | re.IGNORECASE)) - stages
    if len(tags) != 1:
        raise BaseImageError(f"the Dockerfile starts from {sorted(tags)}: expected one image")
    return str(tags.pop())


def has_image(tag: str) -> bool:
    """Whether the engine has the image already."""
    return _run("docker", "image", "inspect", tag).returncode == 0


def can_make() -> bool:
    """Whether this machine can make the image out of Debian's packages."""
    return _debootstrap() is not None and os.geteuid() == 0


def build_options() -> list[str]:
    """The options of `docker build` that let it reach the packages that this machine reaches."""
    # The host's network, so that an index or a resolver on this machine's loopback is found as
    # well.
    options = ["--network", "host"]
    for name, address in _hosts(Path("/etc/hosts").read_text()):
        options += ["--add-host", f"{name}:{address}"]
    for name, value in _pip_settings().items():
        options += ["--build-arg", f"{name}={value}"]
    for name in PROXIES:
        if os.environ.get(name):
            options += ["--build-arg", name]
    return options


def _make(tag: str) -> None:
    found = re.fullmatch(
        r"(?:.*/)?python:(?P<version>3\.\d+)(?:\.\d+)?-slim-(?P<suite>[a-z]+)", tag
    )
    if found is None:
        raise BaseImageError(
            f"{tag} does not tell which Debian and which Python it is: expected "
            "python:3.X-slim-SUITE"
        )
    with tempfile.TemporaryDirectory(prefix="base-image-") as directory:
        root = Path(directory, "root")
        _bootstrap(found["suite"], root)
        _finish(root)
        _import(root, tag)
    _check(tag, found["version"])


def _bootstrap(suite: str, root: Path) -> None:
    packages = f"--include={','.join(PACKAGES)}"
    done = _run(
        _debootstrap() or "debootstrap",
        "--variant=minbase",
        packages,
        suite,
        str(root),
        _mirror(suite),
    )
    if done.returncode != 0:
        raise BaseImageError(
            f"{shlex.join(done.args)} failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        )


def _finish(root: Path) -> None:
    """What python:3.X-slim has and Debian has not, and the authorities that this machine trusts."""
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    certificates = [root / BUNDLE, *_host_bundles()]
    (root / BUNDLE).write_text("\n".join(path.read_text(errors="replace") for path in certificates))


def _import(root: Path, tag: str) -> None:
    excludes = [f"--exclude=./{pattern}" for pattern in (*LEFT_OUT, *ALSO_LEFT_OUT)]
    changes = [word for setting in IMAGE_SETTINGS for word in ("--change", setting)]
    with subprocess.Popen(
        ["tar", "-C", str(root), "--numeric-owner", *excludes, "-c", "."], stdout=subprocess.PIPE
    ) as tar:
        done = _run("docker", "import", *changes, "-", tag, stdin=tar.stdout)
    if done.returncode != 0 or tar.returncode != 0:
        raise BaseImageError(f"docker import failed: {done.stderr}")


def _check(tag: str, version: str) -> None:
    """An image that does not do what its tag says must not stay under that tag."""
    program = "import ensurepip, ssl, sys, venv; print('%d.%d' % sys.version_info[:2])"
    for name in ("python", "python3"):
        done = _run("docker", "run", "--rm", tag, name, "-c", program)
        if done.stdout.strip() != version:
            _run("docker", "image", "rm", "--force", tag)
            raise BaseImageError(
                f"{name} in the new {tag} is {done.stdout.strip() or done.stderr.strip()}, not "
                f"{version}"
            )


def _debootstrap() -> str | None:
    return shutil.which("debootstrap", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _mirror(suite: str) -> str:
    """Where this machine's apt gets the suite from; Debian's own address where it does not get
    it."""
    if shutil.which("apt-get"):
        targets = _run(
            "apt-get",
            "indextargets",
            "--format",
            "$(REPO_URI)",
            f"Release: {suite}",
            "Component: main",
            "Created-By: Packages",
        )
        for address in targets.stdout.split():
            if address.startswith(("http://", "https://")):
                return address.rstrip("/")
    return "http://deb.debian.org/debian"


def _host_bundles() -> list[Path]:
    """The files of certificates that programs on this machine trust, each once."""
    named = [os.environ.get(name) for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")]
    found = [
        Path(name).resolve()
        for name in (*named, ssl.get_default_verify_paths().cafile, f"/{BUNDLE}")
        if name
    ]
    return [path for path in dict.fromkeys(found) if path.is_file()]


def _hosts(text: str) -> Iterator[tuple[str, str]]:
    """Names and addresses of a hosts file, without the machine itself: a container has its own."""
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            continue
        if not (ip.is_loopback or ip.is_multicast or ip.is_link_local or ip.is_unspecified):
            yield from ((name, address) for name in names)


def _pip_settings() -> dict[str, str]:
    """What pip on this machine is told about its index, as pip's environment variables. The
    environment beats the files."""
    done = _run(sys.executable, "-m", "pip", "config", "list")
    lines = re.findall(r"^(\S+?)\.([a-z-]+)=(.*)$", done.stdout, re.MULTILINE)
    settings: dict[str, str] = {}
    for section, key, value in sorted(lines, key=lambda line: line[0] == ":env:"):
        if section in ("global", "install", ":env:") and key in PIP_SETTINGS:
            settings["PIP_" + key.upper().replace("-", "_")] = " ".join(
                str(ast.literal_eval(value)).split()
            )
    return settings


def _run(*command: str, stdin: IO[bytes] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        check=False,
        stdin=stdin or subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )


if __name__ == "__main__":
    with one_at_a_time():
        ensure_base_image()
    print(shlex.join(["docker", "build", *build_options(), "--tag", "kvgossip:local", str(ROOT)]))

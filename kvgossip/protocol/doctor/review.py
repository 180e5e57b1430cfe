"""Review: how the members differ in the ways that they are set up, in words, with what it costs
(Overview has what they say of that).

Laws
- A member is judged by what most others have, or the one that was asked where as many have either;
  its parameters by a file instead, where one is given.
- Members that have the same are one finding: there are as many as values, not as members.
- What is a node's own is not compared (Parameter.own), nor what a member has not in force.
  Parameters of a pool are compared within it: each datacenter has its own LAN pool.
- What only serves clients of HTTP is compared among those who serve some.
- Who does not say how it is set up is a finding: nobody knows that nothing differs.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kvgossip.config import NOT_SET, OF_WAN, PARAMETERS, SET, Parameter
from kvgossip.extras import NODES
from kvgossip.protocol.doctor.alike import T, alike, usual
from kvgossip.protocol.doctor.clocks import wrong_clocks
from kvgossip.protocol.doctor.finding import Finding, listed
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.model.plain_text import plain
from kvgossip.protocol.wire.overview_messages import Overview

VALUE_CHARACTERS_MAX = 64
DISK_ROOM = 2
"""How many times its data a disk should have left beside it: compaction writes it anew."""


@dataclass(frozen=True, slots=True)
class Setup:
    """One member. `overview`: None where it has not answered. `clock_offset_ms`: by how much its
    clock is ahead of the observer's, None where that is not known."""

    name: str
    pool: str
    datacenter: str
    overview: Overview | None
    clock_offset_ms: int | None

    @property
    def parameters(self) -> dict[str, str]:
        """Empty where it does not say."""
        return {} if self.overview is None else dict(self.overview.parameters)

    @property
    def serves(self) -> bool:
        """True if clients of HTTP ask it."""
        return "open_http" in self.parameters


def review(
    setups: Sequence[Setup],
    observer: str,
    against: Mapping[str, str] | None = None,
    ignored: Collection[str] = (),
) -> list[Finding]:
    """The differences that matter. `observer`: the member that was asked. `against`: the parameters
    of a file, as alike_parameters() has them. `ignored`: parameters that may differ."""
    said = {each.name: each.overview for each in setups if each.overview is not None}
    offsets_ms = {each.name: each.clock_offset_ms for each in setups}
    serving = {each.name: said[each.name] for each in setups if each.serves}
    lan = PoolKind.LAN.value
    return [
        *alike(
            {name: tuple(map(plain, each.keyring)) for name, each in said.items()},
            {name: plain(each.tokens) for name, each in said.items()},
            observer,
            lan,
        ),
        *wrong_clocks({name: each for name, each in offsets_ms.items() if each is not None}, lan),
        *_releases(said, observer),
        *_parameters(setups, observer, against, ignored),
        *_extras(serving, observer),
        *_files(serving, observer),
        *_disks(said),
        *_unsaid(setups),
    ]


def _odd(values: Mapping[str, T], expected: T) -> dict[T, list[str]]:
    """By value, the names of those that have another one than expected."""
    found: dict[T, list[str]] = {}
    for name, value in values.items():
        if value != expected:
            found.setdefault(value, []).append(name)
    return found


def _having(values: Mapping[str, T], value: T) -> str:
    return listed([name for name, each in values.items() if each == value])


def _found(code: str, names: Sequence[str], text: str) -> Finding:
    return Finding(code, PoolKind.LAN.value, tuple(names), text)


# -- parameters -----------------------------------------------------------------------------------


def _parameters(
    setups: Sequence[Setup],
    observer: str,
    against: Mapping[str, str] | None,
    ignored: Collection[str],
) -> Iterator[Finding]:
    here = next(each.datacenter for each in setups if each.name == observer)
    compared: dict[tuple[str, str], dict[str, str]] = {}
    for each in setups:
        for name, text in each.parameters.items():
            parameter = _parameter(name)
            # one that this release does not know has no meaning here
            if parameter is None or parameter.own or name in ignored:
                continue
            place = each.datacenter if parameter.per_pool and not name.startswith(OF_WAN) else ""
            # a file is that of one LAN pool
            if against is None or place in ("", here):
                values = compared.setdefault((name, place), {})
                values[each.name] = plain(text)[:VALUE_CHARACTERS_MAX]
    for (name, _), values in compared.items():
        expected = usual(values, observer) if against is None else against.get(name)
        if expected is not None:
            where = "in the file" if against is not None else f"on {_having(values, expected)}"
            for value, names in _odd(values, expected).items():
                yield _parameter_differs(name, value, names, expected, where)


def _parameter(name: str) -> Parameter | None:
    return PARAMETERS.get(name.removeprefix(OF_WAN))


def _parameter_differs(
    name: str, value: str, names: Sequence[str], expected: str, where: str
) -> Finding:
    parameter = _parameter(name)
    assert parameter is not None
    whose = f"of {listed(names)}, and restart"
    if expected == SET:
        line = f"Name a file: {name} (--{name.replace('_', '-')}), in the configuration {whose}"
    elif expected == NOT_SET:
        line = f"Take {name} out of the configuration {whose}, or give all others one"
    elif name.startswith(OF_WAN):
        table = f"wan_parameters = {{ {parameter.name} = {expected} }}"
        line = f"Write `{table}` into the configuration {whose}"
    else:
        line = f"Write `{name} = {expected}` into the configuration {whose}"
    text = (
        f"{name} is {value} on {listed(names)}, and {expected} {where}. {parameter.description} "
        f"{line}"
    )
    return _found("parameter_differs", names, text)


# -- releases and machines ------------------------------------------------------------------------


def _releases(said: Mapping[str, Overview], observer: str) -> Iterator[Finding]:
    releases = {name: plain(each.software) for name, each in said.items() if each.software}
    if not releases:
        return
    expected = usual(releases, observer)
    for release, names in _odd(releases, expected).items():
        text = (
            f"the release is {release} on {listed(names)}, and {expected} on "
            f"{_having(releases, expected)}: what the later one brings works among those alone "
            "that have it. Upgrade the others, one after the other"
        )
        yield _found("release_differs", names, text)


def _extras(serving: Mapping[str, Overview], observer: str) -> Iterator[Finding]:
    if not serving:
        return
    for extra, (_, cost) in NODES.items():
        has = {name: extra in each.extras for name, each in serving.items()}
        if usual(has, observer):
            for name in [name for name, it_has in has.items() if not it_has]:
                text = (
                    f"{name} lacks the extra {extra}, which {_having(has, True)} have: {cost}. "
                    f"`pip install 'kvgossip[{extra}]'` there, and restart it"
                )
                yield _found("extra_missing", (name,), text)


def _files(serving: Mapping[str, Overview], observer: str) -> Iterator[Finding]:
    files = {name: each.files_max or math.inf for name, each in serving.items()}
    if not files:
        return
    expected = usual(files, observer)
    for number, names in _odd(files, expected).items():
        if number < expected:
            most = "any number" if expected == math.inf else str(expected)
            text = (
                f"{number} files may be open on {listed(names)}, and {most} on "
                f"{_having(files, expected)}: each connection, link and watcher is one, and is "
                "refused where none is left. Raise LimitNOFILE of the unit, or `ulimit -n`, and "
                "restart"
            )
            yield _found("files_fewer", names, text)


def _disks(said: Mapping[str, Overview]) -> Iterator[Finding]:
    for name, each in said.items():
        if 0 <= each.disk_free_bytes < DISK_ROOM * each.disk_bytes:
            text = (
                f"the disk of {name} has {_mebibytes(each.disk_free_bytes)} left beside "
                f"{_mebibytes(each.disk_bytes)} of data, and compaction may need "
                f"{DISK_ROOM} times as much as the data: writes may come to be refused (507). "
                "Make room, or give it a larger disk"
            )
            yield _found("disk_room", (name,), text)


def _mebibytes(number: int) -> str:
    return f"{number / 2**20:,.1f} MiB"


def _unsaid(setups: Sequence[Setup]) -> Iterator[Finding]:
    for each in setups:
        if each.overview is None:
            text = f"{each.name} did not answer: how it is set up is not known. `kvgossip doctor`"
            yield Finding(
                "setup_unknown", each.pool, (each.name,), f"{text} looks why", "kvgossip doctor"
            )
        elif not each.overview.parameters:
            text = f"{each.name} does not say how it is set up: its release is older. Upgrade it"
            yield Finding("setup_unknown", each.pool, (each.name,), text)

"""A process of a host, for tests: it opens a source, says what its sink hears, a line of JSON each,
and does what it reads.

    python -m tests.cache.process FOLDER SETTINGS

It reads `put KEY VALUE`, `delete KEY`, `report RELEASE`, `survey`, `fork`, `close`, and of a member `names` and
`address`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from kvgossip.cache.host_source import HostSource
from kvgossip.cache.source import Applied, Record, SourceState

if TYPE_CHECKING:
    from kvgossip.cache.followers import ServedMember

PREFIX = "shop/"
FORKED_S = 300.0
"""A child whose test fails is gone then."""
_turn = threading.Lock()


def say(**document: Any) -> None:
    # in one piece: a child has the same pipe
    with _turn:
        os.write(sys.stdout.fileno(), json.dumps(document).encode() + b"\n")


class Speaking:
    """A sink."""

    def replaced(self, records: Sequence[Record], *, settled: bool = False) -> None:
        say(replaced={record.key: (record.value or b"").decode() for record in records})

    def changed(self, records: Sequence[Record]) -> None:
        say(changed={r.key: None if r.value is None else r.value.decode() for r in records})

    def state_changed(self, state: SourceState) -> None:
        say(state=state._asdict())

    def records(self) -> Mapping[str, Record]:
        return {}


class Opened:
    """A source that is open, and what may be asked of it."""

    def __init__(self, folder: str, settings: dict[str, Any]) -> None:
        self._folder, self._settings = folder, settings
        self.source = HostSource(folder, PREFIX, self._member)
        self.source.open(Speaking())

    def _member(self) -> ServedMember:
        from kvgossip import Config
        from kvgossip.config import Address
        from tests.cache.local_member import LocalMember

        config = Config(gossip=Address("127.0.0.1", 0), **self._settings)
        self.member = LocalMember(config, PREFIX)
        return self.member

    def put(self, key: str, value: str) -> None:
        from kvgossip import Writing

        written = self.source.write([Writing(PREFIX + key, value.encode())])
        written.add_done_callback(self._tell_written)

    def delete(self, key: str) -> None:
        from kvgossip import Writing

        self.source.write([Writing(PREFIX + key, None)]).add_done_callback(self._tell_written)

    def names(self) -> None:
        node, loop = self.member.node, self.member.loop
        loop.call_soon_threadsafe(
            lambda: say(names={member.name: member.state for member in node.members()})
        )

    def address(self) -> None:
        say(address=f"127.0.0.1:{self.member.node.address.port}")

    def report(self, release: str) -> None:
        self.source.report(Applied(PREFIX, release))

    def survey(self) -> None:
        self.source.survey(PREFIX, 5.0).add_done_callback(
            lambda done: say(
                survey={each.release: each.processes for each in done.result().answers}
            )
        )

    @staticmethod
    def _tell_written(written: Future[tuple[str, ...]]) -> None:
        error = written.exception()
        if error is None:
            say(written=list(written.result()))
        else:
            say(failed=str(error), kind=type(error).__name__)

    def fork(self) -> None:
        """A child with its own words: `in_child` before each of them."""
        child = os.fork()
        if child:
            say(forked=child)
            return
        inherited = self.source
        say(in_child=True, orphaned=inherited.orphaned)
        # harmless: it is the parent's
        inherited.close()
        # its lines come between those of the parent: so it only waits to be killed, with copies of
        # all that the parent has open
        threading.Event().wait(FORKED_S)
        os._exit(0)


def main(folder: str, settings: str) -> None:
    opened = Opened(folder, json.loads(settings))
    say(opened=os.getpid())
    for line in sys.stdin:
        name, *arguments = line.split()
        if name == "close":
            break
        getattr(opened, name)(*arguments)
    opened.source.close()
    say(closed=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""All TCP links of a node: those that it dialled, by the address dialled, and those that peers
dialled, by where they came from.

Laws
- One link for each address, and frames that are sent while it is being dialled wait for it. A frame
  that is sent to the address of a link that a peer dialled goes back on that link; once that link
  is gone nobody is dialled, since nobody listens at its far end.
- Everything that a peer can make grow is bounded: links, frames, bytes that wait on a link. If
  there are too many links, in all or of one source, the one that was idle longest goes, and before
  it one of which no frame was opened yet: a flood may cost us idle links, never the ability to take
  new ones, and links of members only where it is made of members' links. One source makes room for
  itself: it does not push out others.
- **A link that a peer dialled is a stranger's until one of its frames was opened**: until then it
  has frames of EARLY_FRAME_BYTES_MAX at most, and EARLY_S of time. The dialling side lets a short
  frame go before a longer one that would be the first.
- The bytes of all frames that have not come to their end are bounded together. Where there are more
  of them, the link goes that makes least progress, those of strangers first.
- A link on which something was sent, and nothing came for `answer_timeout_s`, is given up: a
  firewall may have forgotten it, and drops what goes over it without a word. The next frame dials
  anew. The kernel is told the same (TCP_USER_TIMEOUT), where it can be; it knows for links that
  peers dialled, too, on which the last word is always ours.
- An address is reported unreachable when a dial failed or a link ended otherwise than by our own
  hanging up on an idle one. Reports come in a later turn of the event loop, never from inside
  `send`.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kvgossip.config import Address
from kvgossip.errors import RemoteError
from kvgossip.protocol.ingress.rate_limit import RateLimit
from kvgossip.protocol.model.newest import Newest
from kvgossip.runtime.network.dns import look_up
from kvgossip.runtime.network.listener import Listener
from kvgossip.runtime.network.sockets import plain
from kvgossip.runtime.network.tcp_link import EARLY_FRAME_BYTES_MAX, LENGTH_BYTES, Link

# the dialling side hangs up first, so that it does not send into a link that is just being closed
ACCEPTED_IDLE_FACTOR = 1.5
CLOSE_GRACE_S = 1.0
# how long a stranger may take for the first frame
EARLY_S = 10.0
# as many of the longest frames may be unfinished at a time, whatever the limit says
UNFINISHED_FRAMES_MIN = 4
# how long a link may be without an answer before somebody who doubts it dials anew
DOUBT_S = 0.9
# as long as the protocol may still have answers for a peer that hung up
GONE_S = 10.0
GONE_MAX = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkLimits:
    """The bounds of the resources that one peer, and all of them together, may use."""

    frame_bytes_max: int
    """The longest frame that is taken."""
    frames_waiting_max: int = 12
    """So many of the longest frames may wait on one link; beyond that its peer is given up."""
    links_max: int = 512
    """Dialled, and again so many accepted: together no more than the files that a process may
    usually have open."""
    idle_s: float = 60.0
    """A link that nobody used for so long is hung up."""
    dial_timeout_s: float = 5.0
    answer_timeout_s: float = 10.0
    """Without any answer for so long a link is dead."""
    source_links_per_s: float = 200.0
    """New links of one host; more are closed at once."""
    source_links_max: int = 128
    """Links of one host at a time; one more closes another one of that host."""
    unfinished_bytes_max: int = 64 * 2**20
    """The bytes of frames that have not come to their end, of all links together."""

    @property
    def waiting_bytes_max(self) -> int:
        return self.frames_waiting_max * (self.frame_bytes_max + LENGTH_BYTES)

    @property
    def kept_bytes_max(self) -> int:
        """`unfinished_bytes_max`, unless that holds few of the longest frames."""
        return max(self.unfinished_bytes_max, UNFINISHED_FRAMES_MIN * self.frame_bytes_max)


ReceivedFrame = Callable[[bytes, Address, str], bool]


class LinkTable:
    """`received(frame, source, here)` gets each frame with its link's remote address and the host
    of our end, and says whether it could be opened; `unreachable(address)` gets each address given
    up. `opener()` makes a short frame that says nothing."""

    def __init__(
        self,
        received: ReceivedFrame,
        unreachable: Callable[[Address], None],
        opener: Callable[[], bytes],
        counts: Counter[str],
        limits: LinkLimits,
    ) -> None:
        self._received, self._unreachable, self._opener = received, unreachable, opener
        self._counts, self._limits = counts, limits
        self._loop = asyncio.get_running_loop()
        self._sources = RateLimit(limits.source_links_per_s)
        #: links that this node dialled, by the address dialled
        self._outgoing: dict[Address, Link] = {}
        #: links that peers dialled, by where they came from
        self._incoming: dict[Address, Link] = {}
        #: how many of those there are of each host
        self._hosts: Counter[str] = Counter()
        #: how many bytes of unfinished frames there are
        self._kept_bytes = 0
        #: the times at which incoming links went, monotonic seconds: nobody listens at those
        #: addresses
        self._gone: Newest[Address, float] = Newest(GONE_MAX)
        #: links whose connection stands, and whether there are none
        self._connected: set[Link] = set()
        self._none_connected = asyncio.Event()
        self._none_connected.set()
        self._dials: set[asyncio.Task[None]] = set()
        #: the address to dial from; None: the kernel chooses
        self._local: tuple[str, int] | None = None
        self._listener: Listener | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    def serve(self, listening: socket.socket, local_host: str | None) -> None:
        """Take links from a listening socket; dial from `local_host`, or from where the kernel
        likes when it is None."""
        self._local = (local_host, 0) if local_host else None
        self._listener = Listener(listening, lambda: self._link(None), self._counts)
        self._sweep()

    def send(self, to: Address, frame: bytes, fresh: bool = False) -> None:
        """Queue a frame on the link with that remote address, dialled where needed and possible.
        `fresh`: not on one that has been without an answer for DOUBT_S."""
        link = self._outgoing.get(to) or self._incoming.get(to)
        if fresh and link is not None and link.dialled and self._is_silent(link, DOUBT_S):
            self._counts["links_silent"] += 1
            self._drop(link)
            link = None
        if link is not None and not link.open:
            self._forget(link)
            link = None
        link = link or self._dial(to)
        if link is None:
            self._report(to)
            return
        if len(frame) > EARLY_FRAME_BYTES_MAX and link.dialled and not link.has_sent:
            link.send(self._opener())
        if link.send(frame):
            self._counts["frames_sent"] += 1
            self._counts["frame_bytes_sent"] += len(frame)
        else:
            self._counts["links_overflowed"] += 1
            self._drop(link)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait for peers to take them."""
        return sum(
            link.waiting_bytes
            for links in (self._outgoing, self._incoming)
            for link in links.values()
        )

    def statistics(self) -> dict[str, int]:
        """How many links there are now, and how many bytes wait for peers to take them."""
        return {
            "links_outgoing": len(self._outgoing),
            "links_incoming": len(self._incoming),
            "link_bytes_waiting": self.waiting_bytes,
            "link_bytes_unfinished": self._kept_bytes,
        }

    async def close(self) -> None:
        """End all links; frames that wait on them get CLOSE_GRACE_S to leave. Harmless when
        repeated."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for task in self._dials:
            task.cancel()
        for link in self._connected:
            link.close()
        try:
            async with asyncio.timeout(CLOSE_GRACE_S):
                if self._listener is not None:
                    await self._listener.close()
                await asyncio.gather(*self._dials, return_exceptions=True)
                await self._none_connected.wait()
        except TimeoutError:
            self._counts["links_cut"] += len(self._connected)
        finally:
            for link in list(self._connected):
                link.abort()
        await self._none_connected.wait()

    # -- called by a Link -------------------------------------------------------------------------

    def link_opened(self, link: Link) -> None:
        link.give_up_after(self._limits.answer_timeout_s)
        self._connected.add(link)
        self._none_connected.clear()
        here, there = link.ends
        # there: the peer may have hung up already. here: the kernel may connect a socket to itself
        # when one dials a free port
        if self._closed or there is None or here == there:
            self._drop(link)
            return
        link.here = plain(here).host
        if link.dialled:
            return
        if not self._sources.admits(plain(there).host, self._loop.time()):
            self._counts["links_refused.rate_limited"] += 1
            self._drop(link)
        else:
            link.address = plain(there)
            self._gone.pop(link.address, None)
            self._make_room_for(link.address.host)
            self._incoming[link.address] = link
            self._hosts[link.address.host] += 1
            self._counts["links_accepted"] += 1

    def link_received(self, link: Link, frame: bytes) -> None:
        self._counts["frames_received"] += 1
        self._counts["frame_bytes_received"] += len(frame)
        if self._received(frame, link.address, link.here) and not link.known:
            link.is_known()

    def link_kept(self, link: Link, more: int) -> None:
        self._kept_bytes += more
        while self._kept_bytes > self._limits.kept_bytes_max:
            # a link that ends tells that it keeps nothing
            slowest = min(
                (each for each in self._connected if each.kept_bytes),
                key=lambda each: (each.known or each.dialled, each.lately_bytes, each.used_s),
                default=None,
            )
            if slowest is None:
                return
            self._counts["links_refused.unfinished"] += 1
            self._drop(slowest)

    def link_refused(self, link: Link, reason: RemoteError) -> None:
        self._counts[f"links_refused.{reason.reason}"] += 1
        self._drop(link)

    def link_lost(self, link: Link) -> None:
        self._connected.discard(link)
        if not self._connected:
            self._none_connected.set()
        if self._forget(link):
            self._counts["links_broken"] += 1
            self._report(link.address)

    # -- links come and go ------------------------------------------------------------------------

    def _link(self, address: Address | None) -> Link:
        return Link(self, address, self._limits.frame_bytes_max, self._limits.waiting_bytes_max)

    def _dial(self, to: Address) -> Link | None:
        """A link on which frames may wait from now on. None for an address that cannot be
        dialled."""
        gone_s = self._gone.get(to)
        if (
            self._closed
            or not to.host
            or not to.port
            or (gone_s is not None and self._loop.time() < gone_s + GONE_S)
        ):
            return None
        if len(self._outgoing) >= self._limits.links_max:
            self._counts["links_evicted"] += 1
            self._drop(min(self._outgoing.values(), key=lambda link: link.used_s))
        link = self._outgoing[to] = self._link(to)
        task = self._loop.create_task(self._connect(link))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)
        return link

    async def _connect(self, link: Link) -> None:
        self._counts["links_dialled"] += 1
        connected = False
        try:
            async with asyncio.timeout(self._limits.dial_timeout_s):
                await self._reach(link)
            connected = True
        except OSError:
            # TimeoutError is one
            self._counts["dials_failed"] += 1
        finally:
            if not connected:
                self._drop(link)
                # uvloop closes the link of a dial that is given up after connection_made without a
                # connection_lost
                self._loop.call_soon(self.link_lost, link)

    async def _reach(self, link: Link) -> None:
        """Connect to the first address under the link's name that answers. Raises OSError. The name
        is looked up here, as the loop's own look-up would hold a node that stops."""
        host, port = link.address
        failure = OSError(f"there is no {host}")
        for numeric, _ in await look_up(host, port, socket.AF_UNSPEC):
            try:
                await self._loop.create_connection(
                    lambda: link, numeric, port, local_addr=self._local
                )
                return
            except OSError as error:
                failure = error
        raise failure

    def _drop(self, link: Link) -> None:
        """End a link at once and report its address."""
        if self._forget(link):
            self._report(link.address)
        link.abort()

    def _forget(self, link: Link) -> bool:
        """True if the link was still known; from now on it is not."""
        links = self._outgoing if link.dialled else self._incoming
        if links.get(link.address) is not link:
            return False
        del links[link.address]
        if not link.dialled:
            self._gone[link.address] = self._loop.time()
            host = link.address.host
            self._hosts[host] -= 1
            if not self._hosts[host]:
                del self._hosts[host]
        return True

    def _make_room_for(self, host: str) -> None:
        """Let one more link of this host come in."""
        if self._hosts[host] >= self._limits.source_links_max:
            self._counts["links_refused.source_links"] += 1
            self._drop_one(link for link in self._incoming.values() if link.address.host == host)
        elif len(self._incoming) >= self._limits.links_max:
            self._counts["links_evicted"] += 1
            self._drop_one(self._incoming.values())

    def _drop_one(self, links: Iterable[Link]) -> None:
        """A stranger's first, then the one that was idle longest."""
        self._drop(min(links, key=lambda link: (link.known, link.used_s)))

    def _report(self, address: Address) -> None:
        self._loop.call_soon(self._tell, address)

    def _tell(self, address: Address) -> None:
        if not self._closed:
            self._unreachable(address)

    def _sweep(self) -> None:
        """Hang up on links that nobody used, and give up those without an answer; one whose peer
        takes nothing of the bytes that wait for it is broken, not idle."""
        now = self._loop.time()
        for link in [*self._outgoing.values(), *self._incoming.values()]:
            # of now and of before, so that none has just begun
            link.lately_bytes //= 2
            if link.dialled and self._is_silent(link, self._limits.answer_timeout_s):
                self._counts["links_silent"] += 1
                self._drop(link)
            elif not link.dialled and not link.known and now - link.since_s > EARLY_S:
                self._counts["links_refused.unopened"] += 1
                self._drop(link)
            elif now - link.used_s > self._limits.idle_s * (
                1.0 if link.dialled else ACCEPTED_IDLE_FACTOR
            ):
                self._hang_up(link)
        pause_s = min(self._limits.idle_s, self._limits.answer_timeout_s) / 4
        self._sweeper = self._loop.call_later(pause_s, self._sweep)

    def _is_silent(self, link: Link, seconds: float) -> bool:
        """True if something was sent so long ago, and nothing has come since."""
        return link.unanswered_s is not None and self._loop.time() - link.unanswered_s >= seconds

    def _hang_up(self, link: Link) -> None:
        if link.waiting_bytes:
            self._counts["links_stalled"] += 1
            self._drop(link)
        else:
            self._counts["links_idle"] += 1
            self._forget(link)
            link.close()

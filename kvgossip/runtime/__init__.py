"""The asyncio shell around the pure machine: real sockets, real clocks, real watchers. It decides
nothing.

Reading order: `node` (what users embed), `driver` (one life of a replica: clocks, effects, the
timer), `transport` (how bytes travel; below it `links`, `link`, `listener`, `datagrams`, `names`,
`sockets`), `watch` (who hears of changes), `attempt` (an operator's join), `loop` (which event loop
runs it all). Everything here lives on the thread of one event loop.
"""

"""The pure machine: everything that kvgossip does, without a socket, a clock, an event loop, a file
or a global random generator.

Reading order: `effect` (the boundary), `entry` and `member` (the two orders that decide every
merge), `replica` (the whole), `pool` (one gossip pool), then the mechanisms: `membership`, `rumor`,
`exchange`; below them `store`, `digest`, `wire`.
"""

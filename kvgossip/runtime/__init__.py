"""The asyncio shell around the pure machine: real sockets, real clocks, real watchers. It decides
nothing, and lives on the thread of one event loop.

    node         the object that users embed; delegates to the parts below
    reading      the half of it that answers from the node's own copy
    changing     the half of it that takes writes
    typed_keys   counters, sets and maps, as programs hold them
    resolver     a function of the application that makes one value of siblings
    life         all that a node has open: data directory, sockets, driver
    resident     one thread of one process, outside of which nothing of it may be called
    driver       one life of a replica: clocks, inputs, effects, the timer
    writes       how a caller's write goes to the replica, the disk, and others
    reads        versions that are still to come, the past of a key, snapshots
    changes/     the feed, its watchers, and the past that is remembered
    pending/     callers that wait for an answer
    reports/     the views of a node of itself and of the cluster, ready for JSON
    network/     datagrams, TCP links and DNS
    disk/        the data directory, commits, key files
    clocks       the clocks of the machine
    host         what the machine gives this process
    trend_watch  what of this node and its links is not as usual, kept over restarts
    series       numbers of the last hour
    daemon_threads    calls that may block for ever
    loop         the event loop that it all runs on
"""

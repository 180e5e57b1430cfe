"""The HTTP face of a node: parse, call the node, answer. No protocol words, and the only place that
knows aiohttp.

    listening  the sockets that it listens on, of TCP and unix
    server     the families of routes, and one place for failures
    access     who asks, and what is refused before anything is done
    http       the parts of requests and responses, and the table of routes
    lanes      connections: the express lane for single keys, and aiohttp's for everything else
    routes     one family of routes a file
    tls        connections that are encrypted, and certificates
    ui         the console: pages, styles and scripts for browsers (docs/console.md)
    keys       everything that can be done with one key, by either lane
    typed_answers    keys whose writes are merged, as answers
    listings   all records under a prefix, made once for all who ask
    archive    the format of an export
    sampler    the numbers of the last hour, for plots
"""

"""The config-distribution cache inside a Python process.

config_cache    ConfigCache: the face, on any thread, sync and async
life            the half of it that is no reading and no writing
table           what readers see: one immutable table, replaced as a whole
decoding        what the bytes of a value mean, and the other way round
binding         models that users bind to keys
models          how an object is made of each kind of class
validation      from one table to the next: what is applied, what is refused
resolution      what a member shows of its records: its release, or the loose keys
releases        releases made, promoted, taken back, and what became of them
opening         when the source is open, and how a write is waited for
applying        the sink of a source: takes records, shows tables
callbacks       who hears of changes, on which thread or loop
news            what they hear, and how it waits for them
on_loop         who waits for a cache on an event loop
status          what a cache says of itself
staleness       how old its data is, and who is told when that is too old
forks           what a child inherits is orphaned

source          where a cache has its data from: a member, or one who follows a member
making          which source a cache has, and what is loaded for it
member          a source that is a member of the cluster
static_source   a source without a cluster, for tests
host_source     one member a host, and the other processes follow it
seat            the place of that member, for which the processes race
followers       the server beside it
socket_source   who follows it over its Unix socket
line            the words between these two
shapes          what is read of JSON that another process wrote
calls           what was asked over a line, and is not answered yet
peer            whose process is at the other end of a socket, and when it ends
record_bytes    from the bytes of a node's entry to a Record, and back again
keeping         values outlast the source that they came from
url_source      who follows nodes over HTTP
node_http       a node over HTTP, with the standard library alone
event_stream    the stream of /watch, cut into its events
kept_file       the last-known-good, in a file
errands         what may wait, on a thread that comes and goes
"""

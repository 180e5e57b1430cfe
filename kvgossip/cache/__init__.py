"""The config-distribution cache inside a Python process.

config_cache    ConfigCache: the face, on any thread, sync and async
table           what readers see: one immutable table, replaced as a whole
decoding        what the bytes of a value mean, and the other way round
binding         models that users bind to keys
validation      from one table to the next: what is applied, what is refused
resolution      which records count: loose keys, or those of a release
opening         when the source is open, and how a write is waited for
applying        the sink of a source: takes records, shows tables
callbacks       who hears of changes, on which thread or loop
status          what a cache says of itself
source          where a cache has its data from: a member, or one who follows a member
member          a source that is a member of the cluster
static_source   a source without a cluster, for tests
"""

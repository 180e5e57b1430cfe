"""Changes: the feed, its watchers, and the past that is remembered.

publisher    every change goes to all that hear of changes
feed         one ordered log of changes, for those who come back
stream       what one listener hears, as an async iterator
watchers     the fan-out to those who watch
members      the same for changes of members
events       what happened to the cluster lately, for those who look on
conflicts    writes that have lost, although the other's writer had not seen them
follower     one remote watcher's way through the feed
history      earlier versions of keys
snapshot     all records as they were at one moment
packing      many small values as one string of bytes
"""

"""The values that everything else speaks of, and that mean the same everywhere.

now          Now: both clocks of a machine, read once an input
hlc          HybridLogicalClock: the timestamps of versions
key          what a key may be
entry        Entry and its record, and the order that decides every merge of data
checksum     of a value under its key, wherever both are kept
change       Changed, Conflict, Persist: a key has changed, a write has lost, a fact is to be kept
conflicts    which of two writes was lost although the other's writer had not seen it
story        Story: what happened to some keys on this node, where an operator asks for it
lag          Lag: how long the writes of other nodes take to arrive
write        Writing: one write of a client, and its checks
member       Member: a peer with a state, and the order that decides every merge of members
cluster_id   ClusterId: the cluster that a node belongs to, and how two become one
location     Location: where a node is configured to be
peer         Peer, PoolKind: a name in a pool
news_ports   what merging needs of the mechanisms that hear of news
gossip       the skeleton of gossip, of which rumors and anti-entropy are two instances
plain_text   plain, quoted: text of others, as it is logged and shown
arrival      Arrival: where a message came from, when, and how
newest       Newest: a bounded dict
histogram    Histogram: how long things took, and the quantiles of that
ordered_set  OrderedSet: a set in the order in which its elements came
"""

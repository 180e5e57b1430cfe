"""Numbers over time: what is usual, what has changed, and where it leads. Pure statistics, which
know nothing of nodes and links; robust ones, for a node measures among hiccups.

baseline  where a number usually lies, and since when it lies elsewhere
loss      the share of packets of a link that are lost, and since when there are more
slope     the median of slopes, with an interval
course    the way that a number took, and when it comes to a limit
phi       how sure one may be that a member is gone
"""

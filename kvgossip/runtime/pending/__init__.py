"""Callers that wait for an answer of the replica, or of the cluster.

pending         the registry: answers by key, shared, and closed when the node stops
callers         the questions of callers to the cluster, and the effects that answer them
join_attempt    an operator's join, until a member has taken the node in
join_log        the lines of the log about joins of the node itself that fail
member_log      the lines of the log about members that come and go
write_acks      the members that hold a write
survey          which members have the same data
version_waits   reads that wait for a version
"""

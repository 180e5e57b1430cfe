"""Reports of a node. Its public methods give them, ready for JSON, and the API serves them; or
they are lines of its log.

status        a node's own view of itself, with all counters
doctor        the findings of the doctor, the members, and their sight of each other
round_trip    the way between two members, measured and estimated
join_log      the lines about joins that fail
"""

"""Reports of a node, ready for JSON: its public methods give them, and the API serves them.

status        what a node knows of itself, with all counters
doctor        what is wrong in the cluster, who is there, and who sees whom
round_trip    the way between two members, measured and estimated
"""

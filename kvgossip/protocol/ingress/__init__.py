"""Ingress: the frames that are let in from the network, and those that are refused (protocol.md
section 1).

gate        Gate: frames of other clusters and pools, unread or too many, are dropped
refusal     the words for the sender of a dropped frame, which say what to change
budget      how much work one frame may ask for
complaints  Complaints: how often something is complained of, in the log or to a stranger
rate_limit  Bucket, and RateLimit: a token bucket for each source
blocklist   Blocklist: the peers that an operator has blocked
"""

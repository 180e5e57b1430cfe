"""Releases: a set of values under a prefix that is replaced as a whole, with a trial on some
members first. Pure, so that the cache, the HTTP API and the command decide alike.

document   the values of a release, as one immutable entry
pointer    which release is for all, and which for whom
target     the members that a canary is for
place      what a target looks at of a member
step       what is written for a release, a promotion, a rollback
answers    what the processes of all members made of a release
outcome    what became of a release, by these answers
versioned  JSON that says its own format
names      under which keys releases lie
"""

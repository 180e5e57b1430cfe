"""Doors: who asks, and what is refused before anything is done.

It imports nothing of `http` and of `lanes`, which carry a Client with every request: what is
refused here is an AccessError, which has the status of its answer.

client    who is at the other end of a connection
refusal   AccessError: a status, a sentence, a hint
"""

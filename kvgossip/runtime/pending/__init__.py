"""Callers that wait for an answer of the replica."""

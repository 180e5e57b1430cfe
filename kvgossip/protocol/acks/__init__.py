"""Acks: which members hold a write."""

"""Tombstones that stay deleted, and values that expire (protocol.md section 6)."""

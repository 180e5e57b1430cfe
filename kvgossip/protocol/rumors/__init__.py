"""Rumor mongering: news that is still spreading (protocol.md section 3)."""

"""Processes that commands run: an agent, a demo, and how they log."""

"""Datagrams, TCP links and DNS."""

"""Connections of clients, and the two lanes that serve them."""

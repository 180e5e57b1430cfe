"""The parts of requests and responses."""

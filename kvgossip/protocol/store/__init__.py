"""The one copy of the data, its digest tree and its sketch."""

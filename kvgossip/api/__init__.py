"""The HTTP face of a node: parse, call the node, answer. No protocol words, and the only place that
knows aiohttp.

Reading order: `server` (connections and the route table), `kv` and `cluster` (the two families of
routes), `condition`, `target` (from a request's path to a key), `body`, `answer` and `errors` (from
results and failures to bytes). Two lanes bring requests there: `lane` with `head`, for single keys,
and `general`, aiohttp's, for all others; `connections` has the limits of both. `client` is the
other end.
"""

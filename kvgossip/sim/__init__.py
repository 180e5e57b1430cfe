"""The simulator: the second driver of the pure machine. Virtual time, one event heap, one seed; it
drives the `Replica` that ships.

Reading order: `scenario` (what a seed means), `faults` (seed -> schedule), `network` (the fate of
each packet), `host` (a replica and its clocks), `checkers` (what must hold at every step),
`cluster` (the event loop over all of them), `residue` (an experiment).

Law: one seed gives one trace, whatever PYTHONHASHSEED is. So nothing here iterates over a set,
calls hash(), reads a real clock or touches the global random generator; a test bans all four.
"""

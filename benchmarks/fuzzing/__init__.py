"""The fuzzer: hostile bytes against the machine, and against HTTP. `python -m benchmarks.fuzz` runs
it.

outcome    what became of a batch, and the input that failed
units      what real nodes say, and what nobody would, as units and bytes
victim     a replica under attack, and the laws that hold for every input
frames     single frames of anybody
exchanges  exchanges that begin as they should, and end in a lie
answers    the answers of HTTP, as bytes
requests   requests, as bytes
servers    nodes with both lanes on loopback, and the laws of HTTP
"""

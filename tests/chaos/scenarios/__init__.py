"""All scenarios, by what they break. To import this is to register them."""

from . import (
    clocks,
    copies,
    disks,
    honest_reads,
    leaks,
    links,
    names,
    random_faults,
    releases,
    spreading,
    types,
    values,
    waits,
)

MODULES = (
    waits,
    honest_reads,
    clocks,
    disks,
    links,
    copies,
    names,
    values,
    types,
    spreading,
    leaks,
    releases,
    random_faults,
)

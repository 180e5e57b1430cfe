"""The laws that must hold in every simulated run, and what breaks them.

    invariants  the list of the laws, and the witness that checks one life at every step
    agreement   whether all hold the same and know each other, and how long that may take
    ledger      every accepted write, and the versions that each node has held
    oracle      what must never live again, and what must not be lost
    promises    whether acks are true, and waits end in time
    batches     whether a batch is shown whole
    absence     whether a value in quarantine had a reason
    packets     limits, pools and seals of what is sent
    violation   how a check fails

A check that fails raises `BrokenLawError`: the run ends there, with a `Violation` in its report.
"""

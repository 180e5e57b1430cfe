"""The laws that must hold in every simulated run, and the violation of one.

    invariants  the list of the laws, and the witness that checks one life at every step
    agreement   all hold the same and know each other, within a bounded time
    ledger      every accepted write, and the versions that each node has held
    oracle      values that must never live again, and values that must not be lost
    promises    acks are true, and waits end in time
    batches     a batch is shown whole
    conflicts   lost writes are reported, and only those
    edits       typed records hold what the edits come to
    absence     a value in quarantine had a reason
    packets     limits, pools and seals of the packets that are sent
    violation   the failure of a check

A check that fails raises `BrokenLawError`: the run ends there, with a `Violation` in its report.
"""

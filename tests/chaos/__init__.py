"""A small Jepsen: real agents in network namespaces, real faults, and a judge of what was promised.

    python -m tests.chaos                            the scenarios
    python -m tests.chaos jepsen kinds=everything    one of them
    python -m tests.chaos.suite --short              the most telling ones

Files
- `scenario` what a scenario is, and its options; `scenarios/` all of them, by what they break
- `lo_net`, `tun_net` networks that can be cut, slow, lossy; `packet_router` the process between
- `agent`, `cluster` processes that are started, killed, stopped and asked; `http_client`, `probe`
- `load`, `watch` clients under whom it all happens; `record` what was answered to them
- `judge` what must be true of the record once all is healed
- `small_disk`, `fake_clock`, `reverting` disks, clocks and memories that go wrong
- `suite` many scenarios, a line for each
"""

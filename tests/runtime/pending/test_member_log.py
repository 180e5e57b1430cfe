"""The lines about members: bounded, and no crowd hides a death."""

from __future__ import annotations

import logging

from kvgossip.runtime.pending.member_log import LINES_AT_ONCE, LINES_PER_S, MemberLog


def test_a_burst_of_arrivals_has_some_lines_and_the_next_line_counts_the_others() -> None:
    lines = list[tuple[int, str]]()
    log = MemberLog(lambda level, text: lines.append((level, text)))
    for number in range(100):
        log.tell(logging.INFO, f"n{number} is alive", 0.0)
    assert len(lines) == LINES_AT_ONCE
    log.tell(logging.INFO, "n100 is alive", 1 / LINES_PER_S)
    left_out = 100 - int(LINES_AT_ONCE)
    assert lines[-1][1] == (
        f"n100 is alive; {left_out} changes of members before this one have no line"
    )


def test_no_crowd_of_arrivals_hides_a_death() -> None:
    lines = list[tuple[int, str]]()
    log = MemberLog(lambda level, text: lines.append((level, text)))
    for number in range(100):
        log.tell(logging.INFO, f"n{number} is alive", 0.0)
    log.tell(logging.WARNING, "db-7 is dead", 0.0)
    assert lines[-1][0] == logging.WARNING
    assert lines[-1][1].startswith("db-7 is dead; ")

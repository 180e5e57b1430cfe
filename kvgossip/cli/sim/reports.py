"""The reports of many seeds: shown, summed up, and after a failure the command that repeats it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import typer

from kvgossip.cli.errors import complain
from kvgossip.cli.output import print_json, print_table

if TYPE_CHECKING:
    from kvgossip.sim.report import Report

NOT_REPEATED = ("seed", "runs", "jobs", "as_json", "output", "trace")
TRACE_REPEATED = 200


def conclude(reports: list[Report], as_json: bool, context: typer.Context, command: str) -> None:
    """Show the reports, and exit with 1 where a run has failed."""
    show_reports(reports, as_json)
    failed = [report for report in reports if not report.passed]
    for report in failed:
        _complain(report, context, command)
    if failed:
        raise typer.Exit(1)


def show_reports(reports: list[Report], as_json: bool) -> None:
    """One run in full, many summed up; as JSON every run, too."""
    if len(reports) == 1:
        document = reports[0].as_json()
    else:
        document = _summary(reports)
        if as_json:
            document["runs"] = [report.as_json() for report in reports]
    if as_json:
        print_json(document)
        return
    lines = document.pop("trace", [])
    print_table(("", ""), ((name, _cell(value)) for name, value in document.items()))
    for line in lines:
        print(line)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(count)}" for name, count in value.items()) or "none"
    return f"{value:.3f}" if isinstance(value, float) else "none" if value is None else str(value)


def _summary(reports: list[Report]) -> dict[str, Any]:
    """The sums of many runs, and the worst of the times."""
    from xxhash import xxh3_128_hexdigest

    agreed = sorted(
        report.agreement_time_s for report in reports if report.agreement_time_s is not None
    )
    return {
        "seeds": f"{reports[0].seed}-{reports[-1].seed}",
        "passed": sum(report.passed for report in reports),
        "failed": [report.seed for report in reports if not report.passed],
        "converged": all(report.converged for report in reports),
        "trace_hash": xxh3_128_hexdigest("".join(report.trace_hash for report in reports).encode()),
        "agreement_time_s": agreed[-1] if agreed else None,
        "agreement_time_s_p50": agreed[len(agreed) // 2] if agreed else None,
        "agreement_time_s_p99": agreed[len(agreed) * 99 // 100] if agreed else None,
        "agreement_limit_s": max(report.agreement_limit_s for report in reports),
        **{
            name: sum(getattr(report, name) for report in reports)
            for name in (
                "events",
                "messages",
                "bytes",
                "writes",
                "edits",
                "deletes",
                "starts",
                "merges",
                "virtual_time_s",
            )
        },
        "faults": _total(report.faults for report in reports),
    }


def _total(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            total[name] = total.get(name, 0) + count
    return total


def _complain(report: Report, context: typer.Context, command: str) -> None:
    why = (
        str(report.violation)
        if report.violation
        else f"seed {report.seed}: no agreement; residue {report.residue:.4f}"
    )
    repeat = [
        f"kvgossip sim {command}",
        f"--seed {report.seed}",
        *_given(context),
        f"--trace {TRACE_REPEATED}",
    ]
    complain(why, f"repeat it with: {' '.join(repeat)}")


def _given(context: typer.Context) -> Iterator[str]:
    """The options of the command line, but for those that choose the seeds and the form of the
    output."""
    for option in context.command.params:
        name, value = option.name or "", context.params.get(option.name or "")
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE" or name in NOT_REPEATED:
            continue
        for each in value if isinstance(value, (list, tuple)) else [value]:
            if each is False:
                yield option.secondary_opts[0]
            else:
                yield option.opts[0] if each is True else f"{option.opts[0]} {each}"

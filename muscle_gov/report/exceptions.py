"""Waivers and quarantined items as the page shows them: what was refused stands first and says so.

A refused waiver looks to whoever wrote it like one that holds, so it gets its own sign and sentence and
is told in the verdict's box too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from muscle_gov.data import AppliedQuarantine, AppliedWaiver, Verdict
from muscle_gov.refusals import QUARANTINE_REFUSED, WAIVER_REFUSED
from muscle_gov.report import words


@dataclass(frozen=True)
class ExceptionRow:
    """One waiver or one quarantined item."""

    is_refused: bool
    status: str
    """`applied`, or why it was refused in one word."""
    suite: str
    what: str
    effect: str
    reason: str
    owner: str
    expires: str


@dataclass(frozen=True)
class ExceptionsView:
    waivers: tuple[ExceptionRow, ...]
    quarantined: tuple[ExceptionRow, ...]
    flag: str
    """That some were refused, in one sentence; empty if none was."""


def view_exceptions(verdict: Verdict) -> ExceptionsView:
    waivers = [_waiver(one) for one in verdict.waivers]
    items = [_quarantine(one) for one in verdict.quarantined]
    told = [_refused(waivers, "waiver"), _refused(items, "quarantine entry", "quarantine entries")]
    refused = " and ".join(part for part in told if part)
    is_one = sum(row.is_refused for row in (*waivers, *items)) == 1
    done = "is refused and sets nothing aside" if is_one else "are refused and set nothing aside"
    flag = f"{refused} {done}." if refused else ""
    # the order of the file within each kind
    rows = [tuple(sorted(rows, key=lambda row: not row.is_refused)) for rows in (waivers, items)]
    return ExceptionsView(rows[0], rows[1], flag)


def _refused(rows: Sequence[ExceptionRow], one: str, many: str = "") -> str:
    n = sum(row.is_refused for row in rows)
    return f"{words.count(n)} of {words.plural(len(rows), one, many)}" if n else ""


def _waiver(applied: AppliedWaiver) -> ExceptionRow:
    waiver = applied.waiver
    what = f"instance {waiver.instance}" if waiver.instance is not None else f"slice {waiver.slice}"
    done = f"{words.plural(applied.flips, 'flip')} set aside"
    return ExceptionRow(
        applied.status != "applied",
        applied.status,
        waiver.suite,
        what,
        done if applied.status == "applied" else _why(applied.status, WAIVER_REFUSED),
        waiver.reason,
        waiver.owner,
        waiver.expires,
    )


def _quarantine(applied: AppliedQuarantine) -> ExceptionRow:
    entry = applied.quarantine
    times = words.plural(applied.seen, "time")
    done = f"set aside whichever way it flips; differed {times} between two answers of one model"
    return ExceptionRow(
        applied.status != "applied",
        applied.status,
        entry.suite,
        f"instance {entry.instance}",
        done if applied.status == "applied" else _why(applied.status, QUARANTINE_REFUSED),
        entry.reason,
        entry.owner,
        entry.expires,
    )


def _why(status: str, words_of: Mapping[str, str]) -> str:
    return f"{words_of.get(status, status)}: nothing is set aside"

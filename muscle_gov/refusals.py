"""What is said of exceptions: of all in the reason, of refused and ending ones in findings.

A refused exception sets nothing aside, and one that holds hides what broke from the rules. Both stand
in the reason, the one sentence that no output leaves out, so that nobody takes it for granted that an
exception held, nor a pass for one that needed none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date

from muscle_gov.data import AppliedQuarantine, AppliedWaiver, Finding
from muscle_gov.settings import (
    EXPIRES_SOON,
    MOST_QUARANTINED,
    MOST_WAIVED,
    Quarantine,
    Waiver,
    days_left,
    is_expired,
)

WAIVER_REFUSED = {
    "expired": "has expired",
    "unmatched": "covers nothing that flipped",
    "over-broad": (
        f"covers, with the other waived slices, more than {100 * MOST_WAIVED:g}% of the suite's pairs; "
        "name instances or smaller slices, or say `whole_suite = true`"
    ),
}
QUARANTINE_REFUSED = {
    "expired": "has expired",
    "unmatched": "names no item that has a score on both sides",
    "not-flaky": "is of an item that no model is known to answer in two ways",
    "too-many": f"is one of too many: more than {100 * MOST_QUARANTINED:g}% of the suite's pairs",
}
"""Status of a refused exception → why."""


def findings_of(
    waivers: Sequence[AppliedWaiver], quarantined: Sequence[AppliedQuarantine], today: date
) -> tuple[Finding, ...]:
    """A warning for each exception that is refused or expires soon."""
    return (*_of_waivers(waivers, today), *_of_quarantine(quarantined, today))


def _of_waivers(waivers: Sequence[AppliedWaiver], today: date) -> Iterator[Finding]:
    for one in waivers:
        waiver = one.waiver
        what = f"the waiver of {waiver.instance or waiver.slice} ({waiver.owner})"
        if one.status != "applied":
            why = WAIVER_REFUSED.get(one.status, one.status)
            yield Finding("waiver-refused", "warns", f"{what} {why}", waiver.suite)
        elif soon := _soon(waiver, today):
            yield Finding("waiver-expiring", "warns", f"{what} {soon}", waiver.suite)


def _of_quarantine(quarantined: Sequence[AppliedQuarantine], today: date) -> Iterator[Finding]:
    for one in quarantined:
        entry = one.quarantine
        what = f"the quarantine of {entry.instance} ({entry.owner})"
        if one.status != "applied":
            why = QUARANTINE_REFUSED.get(one.status, one.status)
            yield Finding("quarantine-refused", "warns", f"{what} {why}", entry.suite)
        elif soon := _soon(entry, today):
            yield Finding("quarantine-expiring", "warns", f"{what} {soon}", entry.suite)


def expiry_warnings(entries: Sequence[Waiver | Quarantine], today: date) -> tuple[str, ...]:
    """One sentence for each entry of a file that has expired, so that it sets nothing aside, or expires
    soon."""
    found = []
    for entry in entries:
        is_waiver = isinstance(entry, Waiver)
        item = entry.instance or entry.slice if isinstance(entry, Waiver) else entry.instance
        what = (
            f"the {'waiver' if is_waiver else 'quarantine'} of {item} in {entry.suite} ({entry.owner})"
        )
        if is_expired(entry, today):
            found.append(f"{what} has expired, on {entry.expires}, and sets nothing aside")
        elif soon := _soon(entry, today):
            found.append(f"{what} {soon}")
    return tuple(found)


def _soon(entry: Waiver | Quarantine, today: date) -> str | None:
    left = days_left(entry, today)
    if not 0 <= left <= EXPIRES_SOON:
        return None
    when = {0: "today", 1: "tomorrow"}.get(left, f"in {left} days")
    return f"expires {when}, on {entry.expires}"


def applied_words(
    waivers: Sequence[AppliedWaiver], quarantined: Sequence[AppliedQuarantine]
) -> tuple[str, ...]:
    """`2 waivers set 2 flips aside`, for the verdict's reason; nothing of those that set none aside."""
    said = []
    used = [one for one in waivers if one.status == "applied" and one.flips]
    if used:
        # a flip that two waivers cover is set aside once, and nobody knows here which do
        alone = [w for w in (one.waiver for one in used) if w.slice is None]
        suites = [one.waiver.suite for one in used if one.waiver.slice is not None]
        may_meet = len({(w.suite, w.instance) for w in alone}) < len(alone) or any(
            suites.count(w.suite) > (w.slice is not None) for w in (one.waiver for one in used)
        )
        most = "up to " if may_meet else ""
        flips = _many(sum(one.flips for one in used), "flip")
        said.append(f"{_many(len(used), 'waiver')} {_set(len(used))} {most}{flips} aside")
    items = sum(one.status == "applied" for one in quarantined)
    if items:
        entries = "1 quarantine entry" if items == 1 else f"{items:,} quarantine entries"
        said.append(f"{entries} {_set(items)} {_many(items, 'flaky item')} aside")
    return tuple(said)


def _many(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _set(n: int) -> str:
    return "sets" if n == 1 else "set"


def refused_words(
    waivers: Sequence[AppliedWaiver], quarantined: Sequence[AppliedQuarantine]
) -> tuple[str, ...]:
    """`2 waivers are refused (1 expired, 1 unmatched)`, for the verdict's reason."""
    said = []
    for name, many, statuses in (
        ("waiver", "waivers", [one.status for one in waivers]),
        ("quarantine entry", "quarantine entries", [one.status for one in quarantined]),
    ):
        counts = Counter(status for status in statuses if status != "applied")
        n = counts.total()
        if n:
            kinds = ", ".join(f"{k} {status}" for status, k in sorted(counts.items()))
            said.append(
                f"1 {name} is refused ({kinds.removeprefix('1 ')})"
                if n == 1
                else f"{n:,} {many} are refused ({kinds})"
            )
    return tuple(said)

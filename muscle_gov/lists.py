"""Lists of instances that must not regress, judged: each suite of a list is a rule of its own.

Whether a listed instance got worse is seen and not estimated, so no interval is asked. One that is
not there, or has no score on both sides, is not known to be well: that is never a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from muscle_gov.data import Explanation, Measure, RuleResult, Status
from muscle_gov.settings import MustNotRegress, Rule
from muscle_gov.text import one_line

METRIC = "must_not_regress"
SHOWN = 3


@dataclass(frozen=True)
class ListFound:
    """What was found of a list on one suite."""

    listed: MustNotRegress
    suite: str
    """Name of the suite; what the list names where nothing was found."""
    judged: int = 0
    """Listed instances with a score on both sides that were not set aside."""
    worse: tuple[str, ...] = ()
    """Keys of those that got worse."""
    lost: tuple[str, ...] = ()
    """Keys of listed instances that are not there or have no score on both sides."""
    aside: int = 0
    """Listed instances that a waiver or a quarantine names, each by itself."""


def rule_of(listed: MustNotRegress) -> Rule:
    """The list as a rule: at most none of its instances may get worse."""
    return Rule(
        metric=METRIC,
        max=0,
        judge="value",
        suites=listed.suites,
        slice=listed.slice,
        tier=listed.tier,
        name=listed.name,
    )


def result_of(found: ListFound) -> RuleResult:
    """The result of a list on one suite."""
    n, name = found.judged, f"the list {found.listed.name!r}"
    measure = Measure(float(len(found.worse)), None, None, n, "count") if n else None
    aside = f"; {found.aside:,} set aside by name" if found.aside else ""
    if found.lost:
        status = Status.INCOMPARABLE
        reason = (
            f"{name}: {_many(len(found.lost), 'listed instance')} not there or without a score on both "
            f"sides ({_keys(found.lost)})"
        )
        if found.worse:
            reason += f", and {len(found.worse):,} got worse ({_keys(found.worse)})"
        advice = "each must be in both logs with a score, or leave the list"
    elif n == 0:
        status = Status.INCONCLUSIVE if found.aside else Status.INCOMPARABLE
        reason = f"{name}: " + ("all its instances are set aside" if found.aside else "matches nothing")
        advice = "at least one listed instance must be judged"
    elif found.worse:
        status = Status.FAIL
        reason = (
            f"{name}: {len(found.worse):,} of {n:,} listed instances got worse ({_keys(found.worse)})"
        )
        advice = "no listed answer may get worse, unless a waiver names it"
    else:
        status, advice = Status.PASS, None
        reason = f"{name}: none of {n:,} listed instances got worse"
    explained = Explanation(reason, advice, len(found.worse) if n else None, 0)
    return RuleResult(
        rule_of(found.listed),
        found.suite,
        found.listed.slice,
        status,
        measure,
        None,
        f"{found.suite}: {reason}{aside}",
        explained,
        found.listed.place,
        found.aside,
    )


def _many(n: int, what: str) -> str:
    return f"1 {what} is" if n == 1 else f"{n:,} {what}s are"


def _keys(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - SHOWN:,} more" if len(keys) > SHOWN else ""
    return ", ".join(one_line(key, 40) for key in keys[:SHOWN]) + more

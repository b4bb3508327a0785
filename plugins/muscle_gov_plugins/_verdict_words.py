"""What a rule, a waiver and a quarantined item are called, alike in every format but the page.

Plain text: whoever puts it into a format makes it inert there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from muscle_gov.data import AppliedQuarantine, AppliedWaiver, RuleResult, Verdict
    from muscle_gov.settings import Rule

LISTED = "must_not_regress"
"""The metric of a list of instances none of which may get worse."""
_LINE = re.compile(r"[1-9]\d{0,8}", re.ASCII)
_REFUSED: Mapping[str, str] = {
    "expired": "its last day is over",
    "unmatched": "it covers nothing in this comparison",
    "over-broad": "it covers more than an exception may",
    "not-flaky": "no two answers of one model differ on this item",
    "too-many": "with the others it is more of the suite than may be quarantined",
}


def rule_title(rule: Rule) -> str:
    """`NFR at most 5 %`, `must not regress: refusals`, or the rule's own name; as on the page, but that
    all spaces are plain ones, since programs compare these names."""
    # the page's words are loaded when there is a rule to be told
    from muscle_gov.report.words import THIN, limit_text, words_of

    if rule.metric == LISTED:
        return f"must not regress: {rule.name or 'list'}"
    if rule.name:
        return rule.name
    metric = words_of(rule.metric)
    side, limit = ("at most", rule.max) if rule.max is not None else ("at least", rule.min)
    told = "" if limit is None else f" {side} {limit_text(limit, metric.unit)}"
    return f"{metric.title}{told}".replace(THIN, " ")


def where(result: RuleResult) -> str:
    """`maths`, or `maths [subject=sums]`."""
    return result.suite + (f" [{result.slice}]" if result.slice is not None else "")


def line_of(result: RuleResult) -> tuple[str, int] | None:
    """File and line of the rule in the policy; None for one that has none."""
    file, _, line = (result.place or "").rpartition(":")
    return (file, int(line)) if file.strip() and _LINE.fullmatch(line) else None


def to_pass(result: RuleResult) -> str | None:
    """What would make the rule pass; None where it passes or where nobody worked it out."""
    told = result.explanation
    return None if told is None or result.status.value == "PASS" else told.to_pass


def is_refused(applied: AppliedWaiver | AppliedQuarantine) -> bool:
    """Whether an exception sets nothing aside. Whatever is not known to be applied does not."""
    return applied.status != "applied"


def refusal(applied: AppliedWaiver | AppliedQuarantine) -> str:
    """`expired: its last day is over`."""
    why = _REFUSED.get(applied.status)
    return applied.status + (f": {why}" if why else "")


def waiver_line(applied: AppliedWaiver) -> str:
    """`waiver applied: maths 7, 1 flip, data owner, until 2026-12-31: known`."""
    waiver = applied.waiver
    what = waiver.instance if waiver.instance is not None else waiver.slice
    state = f"refused ({refusal(applied)})" if is_refused(applied) else applied.status
    return (
        f"waiver {state}: {waiver.suite} {what}, {_count(applied.flips, 'flip')}, {waiver.owner}, "
        f"until {waiver.expires}: {waiver.reason}"
    )


def quarantine_line(applied: AppliedQuarantine) -> str:
    """`quarantine applied: reading 31, differed 3 times, data owner, until 2026-12-31: why`."""
    entry = applied.quarantine
    state = f"refused ({refusal(applied)})" if is_refused(applied) else applied.status
    return (
        f"quarantine {state}: {entry.suite} {entry.instance}, differed {_count(applied.seen, 'time')}, "
        f"{entry.owner}, until {entry.expires}: {entry.reason}"
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def exceptions(verdict: Verdict) -> dict[str, int]:
    """How many waivers and quarantined items were applied and how many refused, those that occur."""
    found: Counter[str] = Counter()
    named: Sequence[tuple[str, Sequence[AppliedWaiver | AppliedQuarantine]]] = (
        ("waivers", verdict.waivers),
        ("quarantine", verdict.quarantined),
    )
    for name, applied in named:
        found.update(f"{name}_{'refused' if is_refused(one) else 'applied'}" for one in applied)
    return dict(sorted(found.items()))

"""What each rule found, as the page shows it: by tier, worst first, with what would make it pass.

A tier is told apart by its own heading, since a broken advisory rule and a broken critical one are not
the same news. A bound is written in as many digits as show on which side of the limit it lies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from muscle_gov import explain
from muscle_gov.data import Explanation, Measure, RuleResult, Status, Verdict
from muscle_gov.report import words
from muscle_gov.report.bars import Bar, bar, scale_of
from muscle_gov.report.deciding import MUST_NOT_REGRESS, limit_of
from muscle_gov.report.figures import TOTAL_NAME
from muscle_gov.report.status import STATUSES, WORST_FIRST, StatusWords

RULES_AT_ONCE = 20
_TIERS: Mapping[str, tuple[str, str]] = {
    "critical": ("Critical rules", "each must hold"),
    "supporting": (
        "Supporting rules",
        "fail the gate if surely broken; undecided ones do not hold it up",
    ),
    "advisory": ("Advisory rules", "shown only: they decide nothing"),
}


@dataclass(frozen=True)
class Reasons:
    """Why a rule came out as it did, for whoever has to act on it."""

    why: str
    flips: str
    """How many were seen and how many would pass; empty where the metric counts none."""
    needed: str
    """How many pairs would settle it; empty where it is settled or none would."""


@dataclass(frozen=True)
class RuleRow:
    status: StatusWords
    name: str
    tier: str
    suite: str
    slice: str | None
    place: str
    """`file:line` in the policy; empty for a rule from the command line."""
    observed: str
    observed_note: str
    bound: str
    bound_note: str
    limit: str
    n: str
    n_note: str
    remark: str
    """Why it is not simply a pass; empty if it is."""
    to_pass: str
    """What would make it pass; empty if it does or if that is not known."""
    reasons: Reasons | None
    bar: Bar | None


@dataclass(frozen=True)
class RuleGroup:
    """The rules of one tier."""

    tier: str
    title: str
    told: str
    rows: tuple[RuleRow, ...]
    """The ones to look at first."""
    more: tuple[RuleRow, ...]
    more_told: str
    """How many further ones there are, by status."""


def view_rules(verdict: Verdict) -> tuple[RuleGroup, ...]:
    """Those that decide before those that do not; within a tier worst first."""
    groups: list[RuleGroup] = []
    spelled: set[str] = set()
    tiers = dict.fromkeys([*_TIERS, *(result.rule.tier for result in verdict.rules)])
    for tier in tiers:
        results = [result for result in verdict.rules if result.rule.tier == tier]
        results.sort(key=lambda r: WORST_FIRST.index(r.status))
        if results:
            groups.append(_group(tier, results, verdict, spelled))
    return tuple(groups)


def _group(tier: str, results: Sequence[RuleResult], verdict: Verdict, spelled: set[str]) -> RuleGroup:
    title, told = _TIERS.get(tier, (tier, ""))
    rest = results[RULES_AT_ONCE:]
    counts = Counter(result.status for result in rest)
    rows = []
    for result in results:
        # an abbreviation is spelled out where it first stands
        rows.append(_row(result, verdict, result.rule.metric not in spelled))
        spelled.add(result.rule.metric)
    by_status = ", ".join(f"{words.count(counts[s])} {s.value}" for s in WORST_FIRST if counts[s])
    return RuleGroup(
        tier,
        title,
        told,
        tuple(rows[:RULES_AT_ONCE]),
        tuple(rows[RULES_AT_ONCE:]),
        f"{words.plural(len(rest), 'further rule')} of this tier: {by_status}" if rest else "",
    )


def _row(result: RuleResult, verdict: Verdict, is_first: bool) -> RuleRow:
    rule, measure = result.rule, result.measure
    unit = words.words_of(rule.metric).unit
    limit = limit_of(result)
    observed = None if measure is None else measure.value
    bound, bound_note = _bound(result)
    is_list = rule.metric == MUST_NOT_REGRESS
    explained = result.explanation
    return RuleRow(
        status=STATUSES[result.status],
        name=_name(result, limit, is_first),
        tier=rule.tier,
        suite=TOTAL_NAME if result.suite == "(all)" else result.suite,
        slice=result.slice,
        place=result.place or "",
        observed=words.NOT_KNOWN if observed is None else words.apart(observed, limit, unit),
        observed_note="regressed" if is_list and observed is not None else "",
        bound=words.NOT_KNOWN if bound is None else words.apart(bound, limit, unit),
        bound_note=bound_note,
        limit=_limit(result, limit),
        n=words.NOT_KNOWN if measure is None else words.count(measure.n),
        n_note=_listed(result) if is_list else "",
        remark=_remark(result),
        to_pass=(explained.to_pass or "") if explained and result.status is not Status.PASS else "",
        reasons=_reasons(explained) if explained else None,
        bar=None if is_list else _rule_bar(result, verdict, limit),
    )


def _listed(result: RuleResult) -> str:
    """What n counts of a list, and how many of it were not judged since exceptions name them."""
    aside, n = result.set_aside, 0 if result.measure is None else result.measure.n
    if not aside:
        return "listed"
    # of those that could not be judged at all the reason tells
    of = "" if result.status is Status.INCOMPARABLE else f" of {words.count(n + aside)}"
    return f"judged; {words.count(aside)}{of} set aside by name"


def _name(result: RuleResult, limit: float, is_first: bool) -> str:
    rule = result.rule
    if rule.metric == MUST_NOT_REGRESS:
        return f"must not regress: {rule.name}" if rule.name else "must not regress"
    if rule.name:
        return rule.name
    side = "at most" if rule.max is not None else "at least"
    known = words.words_of(rule.metric)
    title = known.spelled if is_first else known.title
    return f"{title} {side} {words.limit_text(limit, known.unit)}"


def _limit(result: RuleResult, limit: float) -> str:
    rule = result.rule
    if rule.metric == MUST_NOT_REGRESS and limit == 0:
        return "none may"
    side = "at most" if rule.max is not None else "at least"
    return f"{side} {words.limit_text(limit, words.words_of(rule.metric).unit)}"


def _bound(result: RuleResult) -> tuple[float | None, str]:
    """(the bound that decided, what it is)."""
    rule, measure = result.rule, result.measure
    if rule.metric == MUST_NOT_REGRESS:
        return None, "counted, not estimated"
    # a rule passes by its far bound and fails by its near one: the one that decided is shown
    shows_high = (rule.max is not None) != (result.status is Status.FAIL and rule.judge == "interval")
    bound = None if measure is None else (measure.high if shows_high else measure.low)
    if bound is None:
        return None, "no bound"
    confidence = words.limit_text(rule.confidence, "share")
    return bound, f"{'at most' if shows_high else 'at least'}, {confidence} confidence"


def _remark(result: RuleResult) -> str:
    status, rule = result.status, result.rule
    if result.measure is None or result.measure.value is None or status is Status.INCOMPARABLE:
        return result.reason
    if rule.metric == MUST_NOT_REGRESS:
        return ""
    how = "the value itself is judged, not its bound" if rule.judge == "value" else ""
    if status is Status.FAIL and not how:
        p = words.p_text(result.p_breach)
        return f"surely beyond the limit (p {'' if p[0] in '<>' else '= '}{p}, Holm over all rules)"
    if status is Status.INCONCLUSIVE:
        return "the bound lies beyond the limit, but not surely: the data do not decide"
    return how


def _reasons(explained: Explanation) -> Reasons:
    flips, needed = "", ""
    if explained.flips is not None:
        flips = f"Seen: {words.count(explained.flips)}."
        if explained.flips_allowed is not None:
            most = explained.flips_allowed
            allowed = f"would pass: at most {words.count(most)}" if most > 0 else "would pass: none"
            if most < 0:
                allowed = "with so few pairs even none is not enough"
            flips = f"Seen: {words.count(explained.flips)}; {allowed}."
    if explained.items_needed is not None:
        n = words.count(explained.items_needed)
        if n not in (explained.to_pass or ""):  # then it is only known about
            n = f"About {explain.roughly(explained.items_needed)}"
        needed = f"{n} pairs in all would settle it, if the figure stayed what it is."
    return Reasons(explained.why, flips, needed)


def _rule_bar(result: RuleResult, verdict: Verdict, limit: float) -> Bar | None:
    """On a scale shared by all results of the same metric."""
    metric, measure = result.rule.metric, result.measure
    if measure is None:
        return None
    alike = [r for r in verdict.rules if r.rule.metric == metric and r.measure is not None]
    limits = [b for r in alike for b in (r.rule.max, r.rule.min) if b is not None]
    measures: list[Measure] = [r.measure for r in alike if r.measure is not None]
    scale = scale_of(metric, measures, limits)
    confidence = words.limit_text(max(0.0, 2 * result.rule.confidence - 1), "share")
    return bar(metric, measure, scale, limit, confidence) if scale else None

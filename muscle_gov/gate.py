"""Comparison and rules → Verdict. Pure: no store, no clock but the day it is given.

A rule is non-inferiority on an interval. It passes if the one-sided bound lies inside the limit; it
fails if the figure surely lies outside; else the data do not decide. Passing needs no correction for
many rules, since all must pass (an intersection-union test); failing does, since any may fail, and
gets Holm's. Everything that cannot be judged is told and is never a pass.

A critical rule must hold. A supporting one fails the gate where it fails, but where the data do not
decide it holds nothing up, as long as a critical rule holds; the reason then says that it is undecided.
What cannot be judged at all is no matter of more data, so there the tiers do not differ. An advisory
rule is only shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fnmatch import fnmatchcase
from typing import Any

from muscle_gov import explain, stats
from muscle_gov.data import (
    AppliedQuarantine,
    AppliedWaiver,
    Comparison,
    Explanation,
    Finding,
    Measure,
    RuleResult,
    Status,
    SuiteFigures,
    Verdict,
)
from muscle_gov.explain import figure_text, is_outside, is_undecided
from muscle_gov.lists import ListFound, result_of
from muscle_gov.refusals import applied_words, findings_of, refused_words
from muscle_gov.settings import Gate, Rule, check_rule

Remeasure = Callable[[Rule, SuiteFigures, float], Measure | None]
"""(rule, suite or slice, two-sided confidence) → the rule's metric there, waived flips set aside;
None if the metric is not defined for this kind of suite."""


@dataclass(frozen=True)
class _Case:
    """A rule on one suite or slice, before Holm."""

    rule: Rule
    figures: SuiteFigures | None
    measure: Measure | None
    p_breach: float | None
    problem: str | None
    suite: str
    counted: SuiteFigures | None = None
    """Whose coverage it needs: its own or, for a slice, that of the whole suite if it is less."""
    place: str | None = None
    tests: int = 1
    """Rules among which Holm's procedure looks at it."""


@dataclass(frozen=True)
class Exceptions:
    """What was set aside before the figures of the rules were measured, and what the lists hold."""

    waivers: tuple[AppliedWaiver, ...] = ()
    quarantined: tuple[AppliedQuarantine, ...] = ()
    lists: tuple[ListFound, ...] = ()
    """Of `gate.must_not_regress`; a list of the gate that is missing here is never a pass."""
    today: date | None = None
    """By which exceptions that end soon are told; None tells of none."""
    findings: tuple[Finding, ...] = ()
    """What else a reader of the exceptions must know."""


def judge(
    comparison: Comparison,
    gate: Gate | None,
    remeasure: Remeasure,
    exceptions: Exceptions | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Verdict:
    """The verdict. `gate=None` asks for none; a gate without rules is asked for and is no pass.

    `metrics` (name → metric) is only asked for titles and units, for the wording.
    """
    given = exceptions or Exceptions()
    blocking = [f for f in comparison.findings if f.level == "blocks"]
    results = _results(comparison, gate, remeasure, metrics or {}) if gate else []
    results += _list_results(gate, given.lists) if gate else []
    status, reason = _conclude(gate, results, blocking)
    if gate is not None:
        told = (applied_words, refused_words)
        reason = "; ".join([reason, *(s for say in told for s in say(given.waivers, given.quarantined))])
    warned = findings_of(given.waivers, given.quarantined, given.today or date.max)
    return Verdict(
        status,
        reason,
        tuple(results),
        (*comparison.findings, *given.findings, *warned),
        given.waivers,
        gate.digest if gate else None,
        given.quarantined,
    )


def _list_results(gate: Gate, found: Sequence[ListFound]) -> list[RuleResult]:
    """One result for each list on each suite; a list nobody looked for matches nothing."""
    results = []
    for listed in gate.must_not_regress:
        mine = [one for one in found if one.listed is listed or one.listed == listed]
        results += [result_of(one) for one in mine or [ListFound(listed, ", ".join(listed.suites))]]
    return results


def _conclude(
    gate: Gate | None, results: Sequence[RuleResult], blocking: Sequence[Finding]
) -> tuple[Status, str]:
    if blocking:
        first = blocking[0]
        where = f"{first.suite}: " if first.suite else ""
        more = f" (and {len(blocking) - 1} more such findings)" if len(blocking) > 1 else ""
        return Status.INCOMPARABLE, f"{where}{first.message}{more}"
    if gate is None:
        return Status.NOT_JUDGED, "no rule was given, so nothing was judged"
    deciding = [r for r in results if r.rule.tier != "advisory"]
    if not deciding:
        what = "only advisory rules" if results else "no rules"
        return Status.INCONCLUSIVE, f"the policy has {what}, so nothing can pass"
    open_ = [r for r in deciding if r.rule.tier == "supporting" and is_undecided(r)]
    binding = [r for r in deciding if r not in open_]
    for status in (Status.INCOMPARABLE, Status.FAIL, Status.INCONCLUSIVE):
        hit = [r for r in binding if r.status == status]
        if hit:
            more = f" (and {len(hit) - 1} more)" if len(hit) > 1 else ""
            return status, f"{hit[0].reason}{more}"
    n = len(deciding)
    if open_:
        undecided = (
            f"{len(open_)} supporting rules are undecided"
            if len(open_) > 1
            else "1 supporting rule is undecided"
        )
        if not any(r.rule.tier == "critical" for r in binding):
            return Status.INCONCLUSIVE, f"{undecided}, and there is no critical rule: {open_[0].reason}"
        return Status.PASS, f"{len(binding)} of {n} rules hold; {undecided}"
    if n == 1:
        return Status.PASS, deciding[0].reason
    return Status.PASS, "both rules hold" if n == 2 else f"all {n} rules hold"


def _results(
    comparison: Comparison, gate: Gate, remeasure: Remeasure, metrics: Mapping[str, Any]
) -> list[RuleResult]:
    places = [*gate.places, *[None] * len(gate.rules)]
    cases = [
        replace(case, place=place)
        for rule, place in zip(gate.rules, places, strict=False)
        for case in _cases(comparison, rule, remeasure)
    ]
    tested = [i for i, case in enumerate(cases) if case.p_breach is not None]
    deciding = [i for i in tested if cases[i].rule.tier != "advisory"]
    for chosen in (deciding, [i for i in tested if i not in set(deciding)]):
        adjusted = stats.holm([cases[i].p_breach or 0.0 for i in chosen])
        for i, p in zip(chosen, adjusted, strict=True):
            cases[i] = replace(cases[i], p_breach=p, tests=len(chosen))
    return [_result(case, gate, metrics) for case in cases]


def _cases(comparison: Comparison, rule: Rule, remeasure: Remeasure) -> list[_Case]:
    faults = check_rule(rule, [rule.metric])
    if faults:
        return [_Case(rule, None, None, None, "; ".join(faults), ", ".join(rule.suites))]
    cases = []
    for pattern in rule.suites:
        targets = _targets(comparison, rule, pattern)
        if not targets:
            wanted = f"suites {pattern}" + (f", slice {rule.slice}" if rule.slice else "")
            problem = f"no suite or slice of the comparison matches it ({wanted})"
            if pattern == "(all)":
                problem = (
                    "there is no total over all suites, since some are parts of one task or differ in "
                    "kind; choose parts with --filter or --suite"
                )
            cases.append(_Case(rule, None, None, None, problem, pattern))
        known = {(case.suite, case.figures.slice) for case in cases if case.figures is not None}
        for target in targets:
            if (target.suite, target.slice) not in known:
                case = _case(rule, target, remeasure)
                cases.append(replace(case, counted=_counted(comparison, target)))
    return cases


def _targets(comparison: Comparison, rule: Rule, pattern: str) -> list[SuiteFigures]:
    if rule.slice is not None:
        found = [figures for figures in comparison.slices if _matches(figures.suite, pattern)]
        tag, _, value = rule.slice.rpartition("=")
        if value == "*":
            return [figures for figures in found if (figures.slice or "").startswith(f"{tag}=")]
        return [figures for figures in found if figures.slice == rule.slice]
    pool = list(comparison.suites)
    if comparison.total is not None:
        pool.append(comparison.total)
    elif len(pool) == 1 and pattern == "(all)":
        return pool
    return [figures for figures in pool if _matches(figures.suite, pattern)]


def _counted(comparison: Comparison, target: SuiteFigures) -> SuiteFigures:
    # which slice an unanswered row would be in may not be known, so a slice needs its suite's coverage;
    # and a suite without answers must not vanish in the total
    is_total = target is comparison.total
    whole = [
        f for f in comparison.suites if f.suite == target.suite or (is_total and f.kind == "binary")
    ]
    return min([target, *whole], key=lambda figures: figures.coverage)


def _matches(suite: str, pattern: str) -> bool:
    # the pool of all suites is meant only where it is named
    return suite == pattern or (suite != "(all)" and fnmatchcase(suite, pattern))


def _case(rule: Rule, target: SuiteFigures, remeasure: Remeasure) -> _Case:
    where = target.suite
    if target.n_pairs == 0:
        return _Case(rule, target, None, None, "there are no pairs", where)
    two_sided = 2 * rule.confidence - 1
    measure = remeasure(rule, target, two_sided)
    if measure is None:
        problem = f"{rule.metric} is not defined for a {target.kind} suite" + (
            "; give --threshold, or use regression_rate" if target.kind == "graded" else ""
        )
        return _Case(rule, target, None, None, problem, where)
    if measure.value is None:
        return _Case(rule, target, measure, None, f"{rule.metric} is {measure.method}", where)
    if rule.judge == "interval" and (measure.low is None or measure.high is None):
        return _Case(rule, target, measure, None, f"{rule.metric} has {measure.method}", where)
    p = None if rule.judge == "value" else _p_breach(rule, target, remeasure, measure)
    return _Case(rule, target, measure, p, None, where)


def _p_breach(rule: Rule, target: SuiteFigures, remeasure: Remeasure, measure: Measure) -> float:
    """The smallest one-sided error at which the figure surely lies outside the limit.

    Found by turning the interval's confidence until its near bound touches the limit, so it agrees
    with the interval whatever the metric.
    """
    if measure.value is None or not is_outside(rule, measure.value):
        return 0.5

    def surely_outside(error: float) -> bool:
        m = remeasure(rule, target, 1 - 2 * error)
        bound = None if m is None else (m.low if rule.max is not None else m.high)
        return bound is not None and is_outside(rule, bound)

    low, high = 1e-12, 0.5
    if surely_outside(low):
        return low
    for _ in range(50):
        middle = (low * high) ** 0.5
        if surely_outside(middle):
            high = middle
        else:
            low = middle
        if high / low < 1.001:
            break
    return high


def _result(case: _Case, gate: Gate, metrics: Mapping[str, Any]) -> RuleResult:
    rule, target, measure = case.rule, case.figures, case.measure
    needed = gate.coverage if rule.coverage is None else rule.coverage
    counted = case.counted or target
    if counted is not None and counted.n_union and counted.coverage < needed:
        return _told(
            case,
            Status.INCOMPARABLE,
            f"only {counted.n_pairs:,} of {counted.n_union:,} instances ({counted.coverage:.2%}) have a "
            f"score on both sides; {100 * needed:.6g}% are needed",
            explain.explain_coverage(counted.n_pairs, counted.n_union, needed),
        )
    if case.problem or target is None or measure is None or measure.value is None:
        reason = f"{rule.name or rule.metric} cannot be judged: {case.problem}"
        return _told(case, Status.INCONCLUSIVE, reason, explain.explain_unjudged(reason))
    metric = metrics.get(rule.metric)
    status, reason = _judged(case, measure, metric)
    explained = explain.explain(
        explain.Judged(rule, measure, status, metric, target.n_pairs, case.tests)
    )
    return _told(case, status, reason, explained)


def _told(case: _Case, status: Status, reason: str, explained: Explanation) -> RuleResult:
    place = None if case.figures is None else case.figures.slice
    where = case.suite + (f" [{place}]" if place else "")
    return RuleResult(
        case.rule,
        case.suite,
        place,
        status,
        case.measure,
        case.p_breach,
        f"{where}: {reason}",
        explained,
        case.place,
    )


def _judged(case: _Case, measure: Measure, metric: Any) -> tuple[Status, str]:
    """Where the figure and its bound lie, and in words."""
    rule, value = case.rule, measure.value
    assert value is not None  # noqa: S101 - _result has made sure
    limit = rule.max if rule.max is not None else rule.min
    words = f"{rule.name or getattr(metric, 'title', rule.metric)} is {figure_text(value, metric)}"
    side = "at most" if rule.max is not None else "at least"
    asks = "allows" if rule.max is not None else "asks for"
    allowed = f"the policy {asks} {side} {figure_text(limit, metric)}"
    if rule.judge == "value":
        status = Status.FAIL if is_outside(rule, value) else Status.PASS
        return status, f"{words}; {allowed}"
    bound = measure.high if rule.max is not None else measure.low
    assert bound is not None  # noqa: S101 - _case has made sure
    surety = f"{side} {figure_text(bound, metric)} with {100 * rule.confidence:.6g}% confidence"
    sure = f"{words}, {surety}; {allowed}"
    if not is_outside(rule, bound):
        return Status.PASS, sure
    if case.p_breach is not None and case.p_breach <= 1 - rule.confidence:
        return Status.FAIL, f"{words}, surely beyond the limit; {allowed}"
    return Status.INCONCLUSIVE, f"{sure}: the data do not decide"

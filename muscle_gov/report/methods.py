"""How it was measured, what was left out and why, and what could not have been seen.

A report that shows no regression says as much about its size as about the model. So each suite tells
the flip rate that a spotless result would still leave open, and how many flips its limit lets pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from muscle_gov import stats
from muscle_gov.data import Comparison, Finding, Report, RuleResult, SuiteFigures, Verdict
from muscle_gov.report import words
from muscle_gov.report.figures import TOTAL_NAME, WORST_BY, detectable

SUITES_AT_ONCE = 30
_POWER_CONFIDENCE = 0.95
_CAUSES = (
    ("missing", "missing"),
    ("error", "error"),
    ("unscored", "unscored"),
)
"""(state, column): an instance counts once, by the first of these that either side has."""


@dataclass(frozen=True)
class LeftOut:
    """Instances of one suite that are in no rate, and flips that count in no rule."""

    name: str
    seen: str
    counts: tuple[str, ...]
    """By `MethodsView.causes`."""
    pairs: str
    coverage: str
    waived: str
    quarantined: str


@dataclass(frozen=True)
class Power:
    """What a suite of this size could show."""

    name: str
    pairs: str
    detectable: str
    detectable_exact: str | None
    ruled_out: str
    """The flip rate that not one flip would rule out."""
    ruled_out_exact: str | None
    limit: str
    """Of the rule on the flip rate; a dash where there is none."""
    allowed: str
    """The most flips that would pass it."""


@dataclass(frozen=True)
class MethodsView:
    definitions: tuple[tuple[str, words.MetricWords], ...]
    intervals: tuple[str, ...]
    tests: tuple[str, ...]
    causes: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    more_left_out: tuple[LeftOut, ...]
    told: tuple[Finding, ...]
    """Findings about rows that were dropped when the logs were read."""
    power: tuple[Power, ...]
    more_power: tuple[Power, ...]
    power_confidence: str


def view_methods(report: Report) -> MethodsView:
    comparison, verdict = report.comparison, report.verdict
    whole = [*([comparison.total] if comparison.total else []), *comparison.suites]
    measures = [m for f in whole for m in f.measures.values() if m.value is not None]
    left_out = [_left_out(f, verdict) for f in whole]
    power = [_power(f, verdict) for f in whole]
    return MethodsView(
        definitions=_definitions(whole, verdict),
        intervals=tuple(sorted({m.method for m in measures if m.low is not None})),
        tests=tuple(sorted({f.p_method for f in whole if f.p_value is not None})),
        causes=tuple(title for _, title in _CAUSES),
        left_out=tuple(left_out[:SUITES_AT_ONCE]),
        more_left_out=tuple(left_out[SUITES_AT_ONCE:]),
        told=_told(comparison, verdict),
        power=tuple(power[:SUITES_AT_ONCE]),
        more_power=tuple(power[SUITES_AT_ONCE:]),
        power_confidence=words.limit_text(_POWER_CONFIDENCE, "share"),
    )


def _definitions(
    whole: Sequence[SuiteFigures], verdict: Verdict
) -> tuple[tuple[str, words.MetricWords], ...]:
    """Of every figure that is measured or judged, ours in our order, then those of plugins."""
    used = {name for f in whole for name in f.measures} | {r.rule.metric for r in verdict.rules}
    known = [name for name in words.METRICS if name in used]
    return tuple((name, words.words_of(name)) for name in [*known, *sorted(used - {*known})])


# ---------------------------------------------------------------------------------------- left out


def cause_of(outcomes: str) -> str | None:
    """Why an instance with `old>new` outcomes is in no rate; None if it may be in one."""
    states = outcomes.split(">")
    return next((state for state, _ in _CAUSES if state in states), None)


def _left_out(figures: SuiteFigures, verdict: Verdict) -> LeftOut:
    counts = dict.fromkeys((state for state, _ in _CAUSES), 0)
    for outcomes, n in figures.outcomes.items():
        cause = cause_of(outcomes)
        if cause is not None:
            counts[cause] += n
    waived = sum(w.flips for w in verdict.waivers if _covers(w.waiver.suite, figures))
    items = [q for q in verdict.quarantined if q.status == "applied"]
    quarantined = sum(_covers(q.quarantine.suite, figures) for q in items)
    return LeftOut(
        _name(figures),
        words.count(figures.n_union),
        tuple(words.count(n) for n in counts.values()),
        words.count(figures.n_pairs),
        words.percent(figures.coverage),
        words.count(waived),
        words.count(quarantined),
    )


def _covers(suite: str, figures: SuiteFigures) -> bool:
    return figures.suite in (suite, "(all)")


def _name(figures: SuiteFigures) -> str:
    return TOTAL_NAME if figures.suite == "(all)" else figures.suite or "(no name)"


def _told(comparison: Comparison, verdict: Verdict) -> tuple[Finding, ...]:
    """What the reading of the logs said of rows that are not here, once each."""
    found = dict.fromkeys([*verdict.findings, *comparison.findings])
    return tuple(f for f in found if any(word in f.code for word in _DROPPED))


_DROPPED = ("duplicate", "malformed", "unfinished", "rerun-partial", "repeats-missing", "dropped")


# ------------------------------------------------------------------------------------------- power


def _power(figures: SuiteFigures, verdict: Verdict) -> Power:
    n, result = figures.n_pairs, _limit_on(figures, verdict)
    ruled_out = stats.clopper_pearson(0, n, 2 * _POWER_CONFIDENCE - 1)[1] if n else None
    limit, allowed = words.NOT_KNOWN, words.NOT_KNOWN
    if result is not None and result.rule.max is not None:
        limit = words.limit_text(result.rule.max, "share")
        allowed = _allowed(result.rule.max, n, result.rule.confidence)
    return Power(
        _name(figures),
        words.count(n),
        detectable(figures),
        None if figures.mde is None else repr(figures.mde),
        words.NOT_KNOWN if ruled_out is None else words.percent(ruled_out),
        None if ruled_out is None else repr(ruled_out),
        limit,
        allowed,
    )


def _limit_on(figures: SuiteFigures, verdict: Verdict) -> RuleResult | None:
    """The strictest deciding rule on the flip rate of a suite."""
    metric = WORST_BY.get(figures.kind)
    found = [
        result
        for result in verdict.rules
        if (result.rule.metric, result.suite, result.slice) == (metric, figures.suite, None)
        and result.rule.max is not None
        and result.rule.tier != "advisory"
        and result.rule.judge == "interval"
    ]
    return min(found, key=lambda result: result.rule.max or 0.0, default=None)


def _allowed(limit: float, n: int, confidence: float) -> str:
    if not 0 < limit < 1 or not n:
        return words.NOT_KNOWN
    most = stats.most_flips_allowed(limit, n, confidence)
    return words.count(most) if most >= 0 else "not even 0"

"""Why a rule came out as it did, what would make it pass, and how many more pairs would settle it.

The answers turn the very interval that judged: a share by Clopper and Pearson at the effective number
of pairs, which is read back from the interval itself, so that what is said here and what the gate does
with it cannot differ. Any other interval is taken to shrink with the square root of the number of
pairs, and then the answer says "about".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from muscle_gov import stats
from muscle_gov.data import Explanation, Measure, RuleResult, Status
from muscle_gov.settings import Rule

COUNTED = {
    "nfr": ("flipped", "flip", "no flip"),
    "nfr_mc": (
        "turned wrong or wrong in another way",
        "turn wrong or wrong in another way",
        "no such pair",
    ),
    "regression_rate": ("got worse", "get worse", "no worse score"),
    "robust_nfr": ("flipped in some repeat", "flip in some repeat", "no flip"),
}
"""Metrics that count flips over all pairs: what a pair did, may do, and what none of it is."""
MOST_PAIRS = 10_000_000
"""More pairs than this are no advice."""


@dataclass(frozen=True)
class Judged:
    """A rule that was judged on figures."""

    rule: Rule
    measure: Measure
    """Its value is known, and for an interval rule its bounds."""
    status: Status
    metric: Any
    """The metric, for title and unit; None if it is not known."""
    pairs: int
    """Pairs of the suite or slice."""
    tests: int = 1
    """Rules among which a failure must be sure (Holm)."""

    @property
    def limit(self) -> float:
        limit = self.rule.max if self.rule.max is not None else self.rule.min
        assert limit is not None  # noqa: S101 - a sound rule has one
        return limit

    @property
    def value(self) -> float:
        assert self.measure.value is not None  # noqa: S101 - else nothing was judged
        return self.measure.value

    @property
    def is_inside(self) -> bool:
        return not is_outside(self.rule, self.value)


def is_outside(rule: Rule, figure: float) -> bool:
    """Whether a figure is beyond the limit. What is no number is: it must not pass for being inside."""
    if rule.max is not None:
        return not figure <= rule.max
    return rule.min is not None and not figure >= rule.min


def is_undecided(result: RuleResult) -> bool:
    """Whether the data do not decide; a rule that cannot be judged at all is not undecided.

    Nor is one that fails for itself and is inconclusive only since Holm's procedure looks at more rules
    with it: more rules must not let a gate pass.
    """
    rule, measure = result.rule, result.measure
    if result.status is not Status.INCONCLUSIVE or result.p_breach is None or measure is None:
        return False
    near = measure.low if rule.max is not None else measure.high
    return near is not None and not is_outside(rule, near)


def figure_text(value: float | None, metric: Any) -> str:
    """A figure in the metric's unit: shares as percent, differences of shares as percentage points."""
    if value is None:
        return "undefined"
    unit = getattr(metric, "unit", None)
    if unit == "points":
        return _with_minus(f"{100 * value:+.4g} pp")
    return _with_minus(f"{100 * value:.4g}%" if unit == "share" else f"{value:.4g}")


def _with_minus(text: str) -> str:
    return f"\u2212{text[1:]}" if text.startswith("-") else text


def roughly(n: int) -> str:
    """Rounded up to two digits: what is only known about is not told to the last pair."""
    step = 10 ** max(0, len(str(n)) - 2)
    return f"{-(-n // step) * step:,}"


def _figure_about(value: float, metric: Any) -> str:
    """A figure that is only known about, with one decimal where it is a share or a difference."""
    unit, hundredfold = getattr(metric, "unit", None), 100 * value
    if unit not in ("share", "points") or abs(hundredfold) < 0.05:
        return figure_text(value, metric)
    return _with_minus(f"{hundredfold:+.1f} pp" if unit == "points" else f"{hundredfold:.1f}%")


def explain(judged: Judged) -> Explanation:
    """The explanation of a rule that was judged."""
    share = None if judged.rule.judge == "value" else Share.of(judged)
    flips = allowed = needed = None
    if judged.rule.metric in COUNTED and judged.rule.max is not None:
        flips = round(judged.value * judged.measure.n)
        allowed = _allowed(judged, share)
    if judged.status is Status.INCONCLUSIVE:
        needed = _needed(judged, share)
    why = _why(judged, flips)
    if judged.status is Status.PASS:
        if flips is not None and allowed is not None and allowed > flips:
            why += f"; up to {allowed:,} would pass"
        return Explanation(why, None, flips, allowed, None)
    return Explanation(why, _to_pass(judged, share, flips, allowed, needed), flips, allowed, needed)


def explain_coverage(n_pairs: int, n_union: int, needed: float) -> Explanation:
    """Of a rule that was not judged since too few instances have a score on both sides."""
    least = math.ceil(needed * n_union - 1e-9)
    while least < n_union and least / n_union < needed:
        least += 1
    return Explanation(
        f"{n_union - n_pairs:,} of {n_union:,} instances have no score on both sides",
        f"{least - n_pairs:,} more instances must have a score on both sides: see why they lack one, "
        "and run them again",
    )


def explain_unjudged(problem: str) -> Explanation:
    """Of a rule that cannot be judged at all."""
    advice = "it must be possible to judge it first: change the rule or the runs"
    if problem.endswith("choose parts with --filter or --suite"):
        advice = (
            "compare again with --filter NAME, so that no task counts twice, or with --suite NAME for "
            "suites of one kind"
        )
    return Explanation(problem, advice)


# ---------------------------------------------------------------------------------- what is said


def _why(judged: Judged, flips: int | None) -> str:
    rule, m = judged.rule, judged.measure
    text = figure_text(judged.value, judged.metric)
    seen = f"{getattr(judged.metric, 'title', rule.metric)} is {text} on {m.n:,} pairs"
    if flips is not None:
        about = "" if math.isclose(flips, judged.value * m.n, abs_tol=1e-6) else "about "
        seen = f"{about}{flips:,} of {m.n:,} pairs {COUNTED[rule.metric][0]} ({text})"
    limit = figure_text(judged.limit, judged.metric)
    where = "inside" if judged.is_inside else "beyond"
    if rule.judge == "value":
        return f"{seen}, {where} the limit of {limit}; the figure itself is judged"
    sure = f"{100 * rule.confidence:.6g}% confidence"
    far, near = (m.high, m.low) if rule.max is not None else (m.low, m.high)
    most, least = ("at most", "at least") if rule.max is not None else ("at least", "at most")
    if judged.status is Status.PASS:
        return f"{seen}, with {sure} {most} {figure_text(far, judged.metric)}, the limit being {limit}"
    if judged.status is Status.FAIL:
        return f"{seen}, surely beyond the limit of {limit}"
    if judged.is_inside:
        bound = figure_text(far, judged.metric)
        return f"{seen}, inside the limit of {limit}, but with {sure} only known to be {most} {bound}"
    if near is not None and is_outside(rule, near):
        return f"{seen}, beyond the limit of {limit}, but not surely among {judged.tests} rules at once"
    bound = figure_text(near, judged.metric)
    return f"{seen}, beyond the limit of {limit}, but with {sure} only known to be {least} {bound}"


def _to_pass(
    judged: Judged, share: Share | None, flips: int | None, allowed: int | None, needed: int | None
) -> str:
    n = judged.measure.n
    whole = flips is None or math.isclose(flips, judged.value * n, abs_tol=1e-6)
    is_exact = judged.rule.judge == "value" or (share is not None and share.is_exact)
    about = "" if is_exact and whole else "about "
    if flips is not None and allowed is not None:
        if allowed < 0:
            said = f"with {n:,} pairs even {COUNTED[judged.rule.metric][2]} is not enough"
            least = None if share is None else stats.smallest_n(partial(share.passes, 0), MOST_PAIRS)
            said += f"; that takes {_many(about, least)} pairs" if least else ""
        else:
            fewer = f": {flips - allowed:,} fewer" if flips > allowed else ""
            some = f"at most {about}{allowed:,} of {n:,} pairs" if allowed else "no pair"
            said = f"{some} may {COUNTED[judged.rule.metric][1]}{fewer}"
    elif judged.rule.judge == "value":
        side = "at most" if judged.rule.max is not None else "at least"
        said = f"the figure must be {side} {figure_text(judged.limit, judged.metric)}"
    else:
        said = _value_to_pass(judged, share)
    if judged.status is not Status.INCONCLUSIVE:
        return said
    if needed is None:
        return (
            f"{said}; no number of pairs up to {MOST_PAIRS:,} would settle it with the figure as it is"
        )
    end = "pass" if judged.is_inside else "failure"
    many = _many(about, needed)
    return f"{said}; {many} pairs in all would settle it, as a {end}, if the figure stayed"


def _many(about: str, n: int) -> str:
    return f"{about}{roughly(n)}" if about else f"{n:,}"


def _value_to_pass(judged: Judged, share: Share | None) -> str:
    """The figure that would pass on as many pairs."""
    rule, n = judged.rule, judged.measure.n
    if share is not None:
        k = share.most(n) if rule.max is not None else share.least(n)
        value = None if k < 0 or k > n else k / n
    else:
        far = judged.measure.high if rule.max is not None else judged.measure.low
        reach = 0.0 if far is None else far - judged.value
        value = judged.limit - reach
        low, high = getattr(judged.metric, "bounds", None) or (-math.inf, math.inf)
        value = value if low <= value <= high else None
    if value is None:
        return f"no figure would pass on {judged.pairs:,} pairs"
    side = "at most" if rule.max is not None else "at least"
    return f"on as many pairs the figure must be {side} about {_figure_about(value, judged.metric)}"


# ---------------------------------------------------------------------------------- what is computed


@dataclass(frozen=True)
class Share:
    """How a share of pairs is judged: by Clopper and Pearson on `per_pair` effective pairs for each."""

    rule: Rule
    per_pair: float
    tests: int

    @property
    def is_exact(self) -> bool:
        return self.per_pair == 1.0

    @classmethod
    def of(cls, judged: Judged) -> Share | None:
        """None if the interval is of another kind."""
        m, confidence = judged.measure, judged.rule.confidence
        limit = judged.limit
        if m.n == 0 or m.low is None or m.high is None or not 0 <= judged.value <= 1:
            return None
        if not 0 < limit < 1:
            return None
        size = _effective_size(judged.value, m.low, m.high, m.n, confidence)
        return None if size is None else cls(judged.rule, size / m.n, judged.tests)

    def passes(self, k: float, n: int) -> bool:
        """Would the bound be inside the limit, with k counted of n pairs?"""
        from scipy.special import betainc

        size, hits = n * self.per_pair, k * self.per_pair
        if self.rule.max is not None:
            return hits < size and float(betainc(hits + 1, size - hits, self.rule.max)) >= (
                self.rule.confidence
            )
        assert self.rule.min is not None  # noqa: S101 - a sound rule has one of them
        error = 1 - self.rule.confidence
        return hits > 0 and float(betainc(hits, size - hits + 1, self.rule.min)) <= error

    def fails(self, k: float, n: int) -> bool:
        """Would the figure surely be outside, among as many rules?"""
        from scipy.special import betainc

        size, hits = n * self.per_pair, k * self.per_pair
        if self.rule.max is not None:
            p = 1.0 if hits <= 0 else float(betainc(hits, size - hits + 1, self.rule.max))
        else:
            assert self.rule.min is not None  # noqa: S101 - a sound rule has one of them
            p = 1.0 if hits >= size else 1 - float(betainc(hits + 1, size - hits, self.rule.min))
        # the gate finds p to a thousandth, from above
        return 1.002 * p * self.tests <= 1 - self.rule.confidence

    def most(self, n: int) -> int:
        """Most counted pairs of n that pass under a `max`; -1 if none do."""
        low, high = -1, n + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.passes(middle, n) else (low, middle)
        return low

    def least(self, n: int) -> int:
        """Fewest counted pairs of n that pass under a `min`; n + 1 if none do."""
        low, high = -1, n + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.passes(middle, n) else (middle, high)
        return high


def _effective_size(value: float, low: float, high: float, n: int, confidence: float) -> float | None:
    """The number of single pairs whose Clopper-Pearson interval this is; None if it is none."""
    level = 2 * confidence - 1

    def gives(size: float) -> bool:
        found = stats.clopper_pearson(value * size, size, level)
        return math.isclose(found[0], low, abs_tol=1e-9) and math.isclose(found[1], high, abs_tol=1e-9)

    if gives(n):
        return float(n)
    from scipy.special import betaincinv

    def too_wide(size: float) -> float:
        k = value * size
        if value < 1:
            return float(betaincinv(k + 1, size - k, confidence)) - high
        return low - float(betaincinv(k, 1, 1 - confidence))

    smallest, largest = 1e-3, 1e4 * n
    if too_wide(smallest) <= 0 or too_wide(largest) >= 0:
        return None
    size = math.exp(stats.bisect(lambda x: too_wide(math.exp(x)), math.log(smallest), math.log(largest)))
    found = stats.clopper_pearson(value * size, size, level)
    agrees = math.isclose(found[0], low, abs_tol=1e-7) and math.isclose(found[1], high, abs_tol=1e-7)
    return size if agrees else None


def _allowed(judged: Judged, share: Share | None) -> int | None:
    """The most counted pairs that would pass; -1 if none would, None if nobody can tell."""
    n, limit = judged.measure.n, judged.limit
    if judged.rule.judge == "value":
        k = math.floor(limit * n) + 1
        while k >= 0 and is_outside(judged.rule, k / n):
            k -= 1
        return min(k, n)
    if share is not None:
        return share.most(n)
    return n if limit >= 1 else -1 if limit <= 0 else None


def _needed(judged: Judged, share: Share | None) -> int | None:
    """Pairs in all that would settle it with the figure as it is."""
    value, n = judged.value, judged.measure.n
    if value == judged.limit or n == 0:
        return None
    if share is None:
        return _needed_about(judged)
    # a share of whole pairs, rounded towards the limit, so that the answer holds with either rounding
    is_up = judged.is_inside == (judged.rule.max is not None)
    decides = share.passes if judged.is_inside else share.fails

    def settles(size: int) -> bool:
        exact = value * size
        k = math.ceil(exact - 1e-9) if is_up else math.floor(exact + 1e-9)
        return size > n and decides(k, size)

    found = stats.smallest_n(settles, MOST_PAIRS)
    if found is None or judged.pairs <= n or judged.rule.metric in COUNTED:
        return found
    # of a share of some pairs only (the new model's errors, say) there must be as many more in all
    return math.ceil(found * judged.pairs / n)


def _needed_about(judged: Judged) -> int | None:
    rule, m = judged.rule, judged.measure
    margin = abs(judged.limit - judged.value)
    far, near = (m.high, m.low) if rule.max is not None else (m.low, m.high)
    bound = far if judged.is_inside else near
    if bound is None or margin == 0:
        return None
    reach = abs(bound - judged.value)
    if not judged.is_inside:
        # a failure must be sure among all rules
        strict = stats.normal_quantile(1 - (1 - rule.confidence) / judged.tests)
        reach *= strict / stats.normal_quantile(rule.confidence)
    pairs = max(judged.pairs, m.n)
    found = pairs * (reach / margin) ** 2
    return None if found > MOST_PAIRS else max(math.ceil(found), pairs + 1)

"""Explanations keep what they promise: their numbers, fed back into the gate, give what they say."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping

import pytest
from helpers import all_plugins, binary_cells, compare, log
from hypothesis import given
from hypothesis import strategies as st

from muscle_gov import explain
from muscle_gov import gate as gating
from muscle_gov.cells import Cells
from muscle_gov.data import (
    Comparison,
    Explanation,
    Measure,
    ModelInfo,
    RuleResult,
    Status,
    SuiteFigures,
)
from muscle_gov.settings import Gate, Rule


def flips(k: int, n: int, gained: int = 0) -> Cells:
    """Cells of n pairs of single answers, k of which are negative flips and some positive ones."""
    sums = {
        "both_right": float(n - k - gained),
        "negative_flip": float(k),
        "positive_flip": float(gained),
        "both_wrong_same": 0.0,
        "both_wrong_different": 0.0,
    }
    return Cells("binary", n, n, True, sums, {(cell, cell): total for cell, total in sums.items()})


def judged(suites: Mapping[str, Cells], *rules: Rule) -> list[RuleResult]:
    figures = tuple(
        SuiteFigures(name, None, cells.kind, cells.n, cells.n, cells.n, cells.n, {}, {}, None, "")
        for name, cells in suites.items()
    )
    model = ModelInfo("m", "f", {})
    comparison = Comparison("id", "now", model, model, figures, None, (), (), {}, 0.95, "0")
    metrics = {rule.metric: all_plugins().make("metrics", rule.metric) for rule in rules}

    def remeasure(rule: Rule, target: SuiteFigures, confidence: float) -> Measure:
        return metrics[rule.metric].measure(suites[target.suite], confidence)

    verdict = gating.judge(comparison, Gate(rules), remeasure, metrics=metrics)
    return list(verdict.rules)


def one(cells: Cells, rule: Rule) -> tuple[RuleResult, Explanation]:
    (result,) = judged({"s": cells}, rule)
    assert result.explanation is not None
    return result, result.explanation


@pytest.mark.parametrize("limit", [0.01, 0.05, 0.3])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("n", [40, 333, 5000])
def test_as_many_flips_as_are_allowed_pass_and_one_more_does_not(
    limit: float, confidence: float, n: int
) -> None:
    rule = Rule(metric="nfr", max=limit, confidence=confidence)
    for k in (0, int(limit * n), int(2 * limit * n) + 1):
        _, said = one(flips(k, n), rule)
        assert said.flips == k
        allowed = said.flips_allowed
        assert allowed is not None
        if allowed >= 0:
            assert one(flips(allowed, n), rule)[0].status is Status.PASS
        assert one(flips(allowed + 1, n), rule)[0].status is not Status.PASS


@given(
    n=st.integers(20, 3000),
    share=st.floats(0.0, 2.0),
    limit=st.sampled_from([0.005, 0.02, 0.1]),
    others=st.sampled_from([0, 6]),
)
def test_as_many_pairs_as_are_needed_settle_it(n: int, share: float, limit: float, others: int) -> None:
    k = min(n, int(share * limit * n))
    rule = Rule(metric="nfr", max=limit)
    rest = {f"t{i}": flips(0, 3000) for i in range(others)}
    result, *_ = judged({"s": flips(k, n), **rest}, rule)
    said = result.explanation
    assert said is not None
    if result.status is not Status.INCONCLUSIVE:
        assert said.items_needed is None
        return
    needed = said.items_needed
    if k / n == limit or (needed is None and abs(k / n - limit) < 0.1 * limit):
        return  # on the limit, or so near that no sensible number of pairs tells
    assert needed is not None
    assert needed > n
    inside = k / n <= limit
    exact = k / n * needed
    more = math.ceil(exact - 1e-9) if inside else math.floor(exact + 1e-9)
    again, *_ = judged({"s": flips(more, needed), **rest}, rule)
    assert again.status is (Status.PASS if inside else Status.FAIL)
    if inside and needed - 1 > n:
        fewer = math.ceil(k / n * (needed - 1) - 1e-9)
        before, *_ = judged({"s": flips(fewer, needed - 1), **rest}, rule)
        assert before.status is Status.INCONCLUSIVE


def test_no_flip_at_all_on_too_few_pairs_says_how_many_it_takes() -> None:
    rule = Rule(metric="nfr", max=0.02)
    result, said = one(flips(0, 100), rule)
    assert (result.status, said.flips_allowed, said.items_needed) == (Status.INCONCLUSIVE, -1, 149)
    assert said.to_pass is not None
    assert said.to_pass.startswith("with 100 pairs even no flip is not enough; that takes 149 pairs; ")
    assert one(flips(0, 149), rule)[0].status is Status.PASS
    assert one(flips(0, 148), rule)[0].status is Status.INCONCLUSIVE


def test_where_none_may_flip_it_says_so() -> None:
    _, said = one(flips(3, 200), Rule(metric="nfr", max=0.015))
    assert said.flips_allowed == 0
    assert (said.to_pass or "").startswith("no pair may flip: 3 fewer")


def test_what_is_only_known_about_is_rounded_in_words_and_exact_in_the_data() -> None:
    result, said = one(flips(30, 1000, 15), Rule(metric="accuracy_delta", min=-0.02))
    needed = said.items_needed
    assert needed is not None
    assert needed >= 1000
    told = said.to_pass or ""
    assert re.search(
        r"must be at least about \u2212?\+?[0-9]+\.[0-9] pp; about [0-9],[0-9]00 pairs", told
    )
    assert f"about {explain.roughly(needed)} pairs" in told
    assert "the policy asks for at least \u22122 pp" in result.reason


@pytest.mark.parametrize(
    ("n", "text"), [(7, "7"), (99, "99"), (166, "170"), (25_851, "26,000"), (25_000, "25,000")]
)
def test_a_rough_number_has_two_digits_and_is_never_too_few(n: int, text: str) -> None:
    assert explain.roughly(n) == text


def test_a_figure_on_the_limit_is_never_settled() -> None:
    _, said = one(flips(20, 200), Rule(metric="nfr", max=0.1))
    assert said.items_needed is None
    assert "no number of pairs" in (said.to_pass or "")


def test_what_passes_needs_nothing_and_says_what_is_left() -> None:
    _, said = one(flips(3, 1000), Rule(metric="nfr", max=0.02))
    assert (said.to_pass, said.items_needed, said.flips) == (None, None, 3)
    assert said.flips_allowed is not None
    assert f"up to {said.flips_allowed} would pass" in said.why


@pytest.mark.parametrize(("k", "status"), [(10, Status.PASS), (11, Status.FAIL)])
def test_a_rule_on_the_figure_itself_allows_what_the_limit_says(k: int, status: Status) -> None:
    result, said = one(flips(k, 100), Rule(metric="nfr", max=0.1, judge="value"))
    assert (result.status, said.flips_allowed, said.items_needed) == (status, 10, None)


@pytest.mark.parametrize(
    ("metric", "limit", "cells"),
    [
        ("accuracy_delta", {"min": -0.02}, flips(30, 1000, 15)),  # inside, too few
        ("accuracy_delta", {"min": -0.02}, flips(60, 1000, 33)),  # outside, not surely
        ("accuracy_new", {"min": 0.9}, flips(92, 1000)),
        ("nfi", {"max": 0.6}, flips(12, 400)),
    ],
)
def test_other_metrics_say_about_how_many(metric: str, limit: Mapping[str, float], cells: Cells) -> None:
    result, said = one(cells, Rule(metric=metric, **limit))
    if metric == "nfi":  # every error is a flip
        assert (result.status, said.flips) == (Status.FAIL, None)
        return
    assert result.status is Status.INCONCLUSIVE
    assert said.flips is None
    needed = said.items_needed
    assert needed is not None
    scale = 1.15 * needed / cells.n  # "about": a seventh more settles it, half of it does not
    for factor, settled in ((scale, True), (needed / cells.n / 2, False)):
        some = {cell: round(total * factor) for cell, total in cells.sums.items()}
        again = flips(some["negative_flip"], sum(some.values()), some["positive_flip"])
        assert (one(again, Rule(metric=metric, **limit))[0].status is not Status.INCONCLUSIVE) is settled


def test_with_repeats_or_clusters_the_effective_number_of_pairs_is_taken() -> None:
    old, new = [[1]] * 400, [[0]] * 20 + [[1]] * 380
    rule = Rule(metric="nfr", max=0.08)
    alone, said = one(binary_cells(old, new), rule)
    assert (alone.status, said.flips_allowed) == (Status.PASS, 22)
    # the same answers in 80 clusters of five, flips together
    cells = binary_cells(old, new, [i // 5 for i in range(400)])
    result, said = one(cells, rule)
    assert result.status is Status.INCONCLUSIVE
    assert said.flips_allowed is not None
    assert said.flips_allowed < 20
    assert "about" in (said.to_pass or "")
    needed = said.items_needed
    assert needed is not None
    times = math.ceil(needed / 400)
    more = binary_cells(old * times, new * times, [i // 5 for i in range(400 * times)])
    assert one(more, rule)[0].status is Status.PASS
    assert needed > 400


def test_missing_answers_are_counted() -> None:
    result = compare("R" * 200, "R" * 190 + "E" * 10, Rule(metric="nfr", max=0.1)).verdict.rules[0]
    said = result.explanation
    assert said is not None
    assert (result.status, said.why) == (
        Status.INCOMPARABLE,
        "10 of 200 instances have no score on both sides",
    )
    assert said.to_pass is not None
    assert said.to_pass.startswith("8 more")
    again = compare("R" * 200, "R" * 198 + "E" * 2, Rule(metric="nfr", max=0.1))
    assert again.status is Status.PASS


def test_every_result_has_an_explanation_and_only_a_pass_asks_for_nothing() -> None:
    old = [log("R" * 100, "old", name) for name in "xyz"]
    new = [log("W" * k + "R" * (100 - k), "new", name) for k, name in ((1, "x"), (9, "y"), (60, "z"))]
    rules = (
        Rule(metric="nfr", max=0.1),
        Rule(metric="nfr", max=0.1, suites=("none",)),
        Rule(metric="nfr_excess", max=0.1),
        Rule(metric="regression_rate", max=0.1),
        Rule(metric="nfr", max=1.0, min=0.5),
        Rule(metric="nfr", max=0.0),
        Rule(metric="relative_nfr", max=0.5, suites=("z",)),
    )
    verdict = compare(old, new, *rules).verdict
    assert {r.status for r in verdict.rules} >= {Status.PASS, Status.FAIL, Status.INCONCLUSIVE}
    for result in verdict.rules:
        assert result.explanation is not None
        assert result.explanation.why
        assert (result.explanation.to_pass is None) == (result.status is Status.PASS)


def test_a_total_that_is_not_there_is_asked_for_by_a_filter() -> None:
    rule = Rule(metric="nfr", max=0.02, suites=("(all)",))
    (result,) = judged({"task/strict": flips(0, 500), "task/flexible": flips(0, 500)}, rule)
    assert result.status is Status.INCONCLUSIVE
    assert result.explanation is not None
    assert result.explanation.to_pass is not None
    assert result.explanation.to_pass.startswith("compare again with --filter NAME, ")
    (other,) = judged({"task": flips(0, 500)}, Rule(metric="nfr", max=0.02, suites=("nowhere",)))
    assert other.explanation is not None
    assert other.explanation.to_pass is not None
    assert "--filter" not in other.explanation.to_pass


def test_explaining_costs_next_to_nothing() -> None:
    suites = {f"s{i}": flips(i % 30, 900) for i in range(200)}
    rule = Rule(metric="nfr", max=0.02)
    judged({"s": flips(1, 10)}, rule)  # imports
    started = time.process_time()
    results = judged(suites, rule)
    assert len(results) == 200
    assert time.process_time() - started < 6  # 30 ms each, on a machine that is busy

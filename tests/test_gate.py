"""The verdict: pass, fail or neither by where the interval lies, and nothing that fails open."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import pytest
from helpers import Log, Result, all_plugins, binary_cells, compare, log, scored
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from muscle_gov import compare as comparing
from muscle_gov import gate as gating
from muscle_gov import stats
from muscle_gov.cells import Cells
from muscle_gov.data import (
    Comparison,
    Finding,
    Measure,
    ModelInfo,
    RuleResult,
    Status,
    SuiteFigures,
    Verdict,
)
from muscle_gov.errors import MetricError
from muscle_gov.settings import Gate, Policy, Rule, Waiver

NFR = Rule(metric="nfr", max=0.1)


# ------------------------------------------------------------------------- the gate alone, without logs


def flips(k: int, n: int) -> Cells:
    return binary_cells([[1]] * n, [[0]] * k + [[1]] * (n - k))


def judge(
    suites: Mapping[str, Cells], *rules: Rule, gate: Gate | None = None, findings: Sequence[Finding] = ()
) -> Verdict:
    """A verdict on cells, all instances of which are paired."""
    figures = tuple(
        SuiteFigures(name, None, cells.kind, cells.n, cells.n, cells.n, cells.n, {}, {}, None, "")
        for name, cells in suites.items()
    )
    model = ModelInfo("m", "f", {})
    comparison = Comparison("id", "now", model, model, figures, None, (), tuple(findings), {}, 0.95, "0")

    def remeasure(rule: Rule, target: SuiteFigures, confidence: float) -> Measure | None:
        metric = all_plugins().make("metrics", rule.metric)
        cells = suites[target.suite]
        return metric.measure(cells, confidence) if cells.kind in metric.kinds else None

    return gating.judge(comparison, gate or Gate(rules), remeasure)


def one(verdict: Verdict) -> RuleResult:
    (result,) = verdict.rules
    return result


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_a_rule_passes_exactly_where_the_exact_bound_is_inside(confidence: float) -> None:
    n, rule = 200, Rule(metric="nfr", max=0.1, confidence=confidence)
    most = stats.most_flips_allowed(0.1, n, confidence)
    assert 0 < most < 20
    for k in (0, 1, most - 1, most, most + 1, most + 2, 20):
        passes = judge({"s": flips(k, n)}, rule).status == Status.PASS
        assert passes == (k <= most), k


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_a_rule_fails_exactly_where_the_exact_test_rejects_the_limit(confidence: float) -> None:
    n, rule = 200, Rule(metric="nfr", max=0.1, confidence=confidence)
    p = {k: reference.binomtest(k, n, 0.1, alternative="greater").pvalue for k in range(15, 45)}
    for k, expected in p.items():
        found = one(judge({"s": flips(k, n)}, rule))
        assert (found.status == Status.FAIL) == (expected <= 1 - confidence), k
        if expected < 0.4:
            assert found.p_breach == pytest.approx(expected, rel=3e-3), k


def test_in_between_the_data_do_not_decide() -> None:
    verdict = judge({"s": flips(20, 200)}, NFR)
    assert verdict.status == Status.INCONCLUSIVE
    assert "do not decide" in verdict.reason


@pytest.mark.parametrize(
    ("k", "status", "code"), [(8, "PASS", 0), (20, "INCONCLUSIVE", 3), (40, "FAIL", 1)]
)
def test_the_status_decides_the_exit_code(k: int, status: str, code: int) -> None:
    verdict = judge({"s": flips(k, 200)}, NFR)
    assert (verdict.status.value, verdict.exit_code) == (status, code)


def test_only_a_failed_gate_exits_with_one() -> None:
    codes = {status: status.exit_code for status in Status}
    assert [status for status, code in codes.items() if code == 1] == [Status.FAIL]
    assert {status for status, code in codes.items() if code == 0} == {Status.PASS, Status.NOT_JUDGED}
    assert codes[Status.INCOMPARABLE] == codes[Status.INCONCLUSIVE] == 3


def fewest_that_fail(n: int) -> int:
    chances = (reference.binomtest(k, n, 0.1, alternative="greater").pvalue for k in range(n))
    return next(k for k, p in enumerate(chances) if p <= 0.05)


def test_a_borderline_breach_fails_alone_and_not_among_many() -> None:
    n = 200
    (k, *_) = (
        k for k in range(n) if reference.binomtest(k, n, 0.1, alternative="greater").pvalue < 0.05
    )
    assert judge({"s": flips(k, n)}, NFR).status == Status.FAIL
    others = {f"t{i}": flips(2, n) for i in range(9)}
    verdict = judge({"s": flips(k, n), **others}, NFR)
    assert verdict.status == Status.INCONCLUSIVE
    # a clear breach still fails among as many
    assert judge({"s": flips(60, n), **others}, NFR).status == Status.FAIL


def test_passing_needs_no_correction_since_all_must_pass() -> None:
    most = stats.most_flips_allowed(0.1, 200)
    assert judge({f"s{i}": flips(most, 200) for i in range(30)}, NFR).status == Status.PASS


def test_advisory_rules_are_shown_and_never_decide() -> None:
    advisory = Rule(metric="nfr", max=0.1, suites=("bad",), tier="advisory")
    strict = Rule(metric="nfr", max=0.1, suites=("good",))
    verdict = judge({"bad": flips(100, 200), "good": flips(1, 200)}, strict, advisory)
    assert verdict.status == Status.PASS
    assert [result.status for result in verdict.rules] == [Status.PASS, Status.FAIL]


def test_advisory_rules_take_nothing_from_the_deciding_ones() -> None:
    n = 200
    (k, *_) = (
        k for k in range(n) if reference.binomtest(k, n, 0.1, alternative="greater").pvalue < 0.05
    )
    suites = {"s": flips(k, n), **{f"t{i}": flips(2, n) for i in range(9)}}
    advisory = Rule(metric="nfr", max=0.1, suites=("t*",), tier="advisory")
    assert judge(suites, Rule(metric="nfr", max=0.1, suites=("s",)), advisory).status == Status.FAIL


def test_a_supporting_rule_that_surely_does_not_hold_fails_the_gate() -> None:
    supporting = Rule(metric="nfr", max=0.1, tier="supporting")
    assert judge({"s": flips(100, 200)}, supporting).status == Status.FAIL


ANY_RULES = st.lists(
    st.builds(
        Rule,
        metric=st.just("nfr"),
        max=st.sampled_from([0.005, 0.02, 0.05, 0.1, 0.9]),
        suites=st.sampled_from([("a",), ("b",), ("c",), ("*",)]),
        tier=st.sampled_from(["critical", "supporting", "supporting", "advisory"]),
        confidence=st.sampled_from([0.9, 0.95]),
    ),
    max_size=12,
)
SUITES = {"a": flips(8, 200), "b": flips(16, 400), "c": flips(1, 300)}


@given(ANY_RULES, ANY_RULES)
def test_no_further_rule_turns_a_gate_that_does_not_pass_into_one_that_does(
    rules: list[Rule], more: list[Rule]
) -> None:
    # one critical rule holds; without any, it would be that rule that lets supporting ones stay open
    holds = Rule(metric="nfr", max=0.2, suites=("c",))
    if judge(SUITES, holds, *rules).status is not Status.PASS:
        assert judge(SUITES, holds, *rules, *more).status is not Status.PASS


def test_a_supporting_rule_that_fails_alone_is_not_undecided_among_many() -> None:
    suites = {"s": flips(16, 400), **{f"t{i}": flips(0, 50) for i in range(90)}}
    critical = Rule(metric="nfr", max=0.2, suites=("s",))
    broken = Rule(metric="nfr", max=0.02, suites=("s",), tier="supporting")
    assert judge(suites, critical, broken).status is Status.FAIL
    harmless = Rule(metric="nfr", max=0.9, suites=("t*",), tier="supporting")
    many = judge(suites, critical, broken, harmless)
    assert many.status is Status.INCONCLUSIVE
    assert many.rules[1].status is Status.INCONCLUSIVE
    assert not gating.is_undecided(many.rules[1])


def test_a_rule_may_set_a_lower_limit() -> None:
    rule = Rule(metric="accuracy_new", min=0.9)
    statuses = [judge({"s": flips(k, 200)}, rule).status.value for k in (8, 20, 40)]
    assert statuses == ["PASS", "INCONCLUSIVE", "FAIL"]


def test_judging_the_value_needs_no_interval_and_no_certainty() -> None:
    rule = Rule(metric="nfr", max=0.1, judge="value")
    assert judge({"s": flips(1, 10)}, rule).status == Status.PASS
    assert judge({"s": flips(2, 10)}, rule).status == Status.FAIL
    assert one(judge({"s": flips(2, 10)}, rule)).p_breach is None


def test_incomparable_outweighs_fail_and_fail_outweighs_inconclusive() -> None:
    many = {"bad": flips(100, 200), "unclear": flips(20, 200)}
    assert judge(many, NFR).status == Status.FAIL
    blocked = Finding("prompt-changed", "blocks", "instances were asked with other prompts", "bad")
    verdict = judge(many, NFR, findings=[blocked])
    assert verdict.status == Status.INCOMPARABLE
    assert "other prompts" in verdict.reason
    assert verdict.exit_code == 3


def test_a_warning_forbids_nothing() -> None:
    warned = Finding("dtype-differs", "warns", "the dtype differs", "s")
    assert judge({"s": flips(0, 200)}, NFR, findings=[warned]).status == Status.PASS


# ------------------------------------------------------------------------------ nothing fails open


def test_an_empty_policy_is_no_pass() -> None:
    verdict = compare("R" * 100, "R" * 100, gate=Gate(())).verdict
    assert (verdict.status, verdict.exit_code) == (Status.INCONCLUSIVE, 3)
    assert "no rules" in verdict.reason


def test_a_policy_of_advisory_rules_alone_is_no_pass() -> None:
    rule = Rule(metric="nfr", max=0.5, tier="advisory")
    verdict = compare("R" * 100, "R" * 100, rule).verdict
    assert (verdict.status, verdict.exit_code) == (Status.INCONCLUSIVE, 3)


def test_without_a_policy_nothing_is_judged() -> None:
    verdict = compare("R" * 100, "W" * 100).verdict
    assert (verdict.status, verdict.exit_code) == (Status.NOT_JUDGED, 0)


def test_without_a_policy_what_cannot_be_compared_is_told_all_the_same() -> None:
    verdict = compare(log("R" * 9, "old", n_shot=0), log("R" * 9, "new", n_shot=5)).verdict
    assert (verdict.status, verdict.exit_code) == (Status.INCOMPARABLE, 3)


def test_zero_pairs_are_no_pass_even_if_allowed() -> None:
    assert compare("RRRR", "UUUU", NFR).status == Status.INCOMPARABLE
    assert compare("RRRR", "UUUU", NFR, allow=("no-pairs",)).status == Status.INCOMPARABLE


@pytest.mark.parametrize("lost", [*"UE."])
def test_what_has_no_answer_is_not_forgotten(lost: str) -> None:
    assert compare("R" * 200, "R" * 197 + lost * 3, NFR).status == Status.INCOMPARABLE
    assert compare("R" * 200, "R" * 198 + lost * 2, NFR).status == Status.PASS
    # the old model's gaps count as much
    assert compare("R" * 197 + lost * 3, "R" * 200, NFR).status == Status.INCOMPARABLE


def test_the_coverage_needed_is_the_rules_or_else_the_gates() -> None:
    half = ("R" * 100, "R" * 50 + "E" * 50)
    assert compare(*half, NFR, gate=Gate((), coverage=0.5)).status == Status.PASS
    assert compare(*half, NFR, gate=Gate((), coverage=0.51)).status == Status.INCOMPARABLE
    easy = Rule(metric="nfr", max=0.1, coverage=0.5)
    assert compare(*half, easy).status == Status.PASS
    assert "50 of 100 instances" in compare(*half, NFR).verdict.reason


def test_a_rule_that_matches_nothing_is_no_pass() -> None:
    rule = Rule(metric="nfr", max=0.5, suites=("sweet",))
    verdict = compare("R" * 100, "R" * 100, rule).verdict
    assert verdict.status == Status.INCONCLUSIVE
    assert "no suite or slice" in verdict.reason


def test_each_suite_that_a_rule_names_must_be_there() -> None:
    rule = Rule(metric="nfr", max=0.5, suites=("suite", "mispelt"))
    verdict = compare("R" * 100, "R" * 100, rule).verdict
    assert verdict.status == Status.INCONCLUSIVE
    assert "mispelt" in verdict.reason
    assert [result.status.value for result in verdict.rules] == ["PASS", "INCONCLUSIVE"]


def test_a_suite_that_two_patterns_name_is_judged_once() -> None:
    rule = Rule(metric="nfr", max=0.5, suites=("suite", "s*", "*"))
    assert len(compare("R" * 100, "R" * 100, rule).verdict.rules) == 1


def test_a_metric_of_another_kind_of_suite_is_no_pass() -> None:
    graded = (scored([0.5] * 50, "old"), scored([0.5] * 50, "new"))
    verdict = compare(*graded, NFR).verdict
    assert verdict.status == Status.INCONCLUSIVE
    assert "not defined for a graded suite" in verdict.reason
    rule = Rule(metric="regression_rate", max=0.5)
    assert compare("R" * 50, "R" * 50, rule).status == Status.INCONCLUSIVE


def test_an_undefined_figure_is_no_pass() -> None:
    rule = Rule(metric="nfi", max=0.5)
    assert compare("R" * 50, "R" * 50, rule).status == Status.INCONCLUSIVE
    rule = Rule(metric="nfr_excess", max=0.5, judge="value")
    assert compare("R" * 50, "R" * 50, rule).status == Status.INCONCLUSIVE


def test_a_figure_without_an_interval_is_no_pass() -> None:
    rule = Rule(metric="regression_magnitude", max=0.5)
    verdict = compare(scored([0.5] * 50, "old"), scored([0.5] * 49 + [0.4], "new"), rule).verdict
    assert verdict.status == Status.INCONCLUSIVE
    assert "no interval" in verdict.reason


@pytest.mark.parametrize(
    "rule",
    [
        Rule(metric="nfr"),
        Rule(metric="nfr", max=0.5, min=0.0),
        Rule(metric="nfr", max=float("nan")),
        Rule(metric="nfr", max=0.5, confidence=0.2),
        Rule(metric="nfr", max=0.5, suites=()),
        Rule(metric="nfr", max=0.5, coverage=0.0),
        Rule(metric="nfr", max=0.5, slice="subject"),
    ],
)
def test_a_rule_that_says_nothing_clear_is_no_pass(rule: Rule) -> None:
    assert compare("R" * 100, "R" * 100, rule).status == Status.INCONCLUSIVE


# ------------------------------------------------------------------------------ suites, slices, all


def tagged(letters: str, model: str, suite: str = "suite", every: int = 2) -> Log:
    return log(letters, model, suite, each=lambda i, _: {"tags": {"subject": "abcdef"[i % every]}})


def test_a_rule_is_judged_on_each_suite_and_on_all_of_them_only_if_named() -> None:
    old = [log("R" * 100, "old", name) for name in ("x", "y")]
    new = [log("W" + "R" * 99, "new", "x"), log("W" * 9 + "R" * 91, "new", "y")]
    each = compare(old, new, NFR).verdict
    assert [(r.suite, r.status.value) for r in each.rules] == [("x", "PASS"), ("y", "INCONCLUSIVE")]
    pooled = compare(old, new, Rule(metric="nfr", max=0.1, suites=("(all)",))).verdict
    assert [(r.suite, r.status.value) for r in pooled.rules] == [("(all)", "PASS")]
    found = one(pooled).measure
    assert found is not None
    assert (found.value, found.n) == (0.05, 200)
    assert (found.low, found.high) == pytest.approx(stats.clopper_pearson(10, 200, 0.9))


def test_all_suites_of_one_are_that_one() -> None:
    verdict = compare("R" * 100, "R" * 100, Rule(metric="nfr", max=0.1, suites=("(all)",))).verdict
    assert verdict.status == Status.PASS
    assert one(verdict).suite == "suite"


def test_a_rule_on_a_slice_sees_only_that_slice() -> None:
    old, new = tagged("R" * 200, "old"), tagged("RW" * 20 + "R" * 160, "new")
    for name, status in (("a", Status.PASS), ("b", Status.FAIL)):
        rule = Rule(metric="nfr", max=0.1, slice=f"subject={name}")
        verdict = compare(old, new, rule).verdict
        assert (verdict.status, one(verdict).slice) == (status, f"subject={name}")
        assert one(verdict).measure is not None
        assert one(verdict).measure.n == 100  # type: ignore[union-attr]


def test_a_rule_on_every_value_of_a_tag_is_judged_on_each() -> None:
    old, new = tagged("R" * 400, "old", every=4), tagged("RW" * 20 + "R" * 360, "new", every=4)
    verdict = compare(old, new, Rule(metric="nfr", max=0.1, slice="subject=*")).verdict
    found = {result.slice: result.status.value for result in verdict.rules}
    assert found["subject=a"] == found["subject=c"] == "PASS"
    assert len(found) == 4
    assert verdict.status != Status.PASS


def test_a_slice_that_is_not_there_is_no_pass() -> None:
    old, new = tagged("R" * 200, "old"), tagged("R" * 200, "new")
    for wanted in ("subject=z", "topic=*"):
        assert compare(old, new, Rule(metric="nfr", max=0.5, slice=wanted)).status == Status.INCONCLUSIVE
    rule = Rule(metric="nfr", max=0.5, slice="subject=a")
    assert compare(old, new, rule, slices=False).status == Status.INCONCLUSIVE


def test_a_slice_whose_answers_are_missing_is_no_pass() -> None:
    old = tagged("R" * 200, "old")
    new = tagged("RR" * 5 + "RE" * 95, "new")  # 95 of the hundred of subject b ended in an error
    rule = Rule(metric="nfr", max=0.6, slice="subject=b")
    assert compare(old, new, rule).status == Status.INCOMPARABLE
    new = tagged("RE" * 100, "new")  # and here all of them
    assert compare(old, new, Rule(metric="nfr", max=0.6, slice="subject=*")).status != Status.PASS


# ---------------------------------------------------------------------------------------- waivers


def waiver(**given: Any) -> Waiver:
    usual = {"suite": "suite", "reason": "label is wrong", "owner": "qa", "expires": "2999-01-01"}
    return Waiver(**{**usual, **given})


BROKEN = ("R" * 100, "W" * 12 + "R" * 88)
TIGHT = Rule(metric="nfr", max=0.12, judge="value")


def test_a_waived_flip_leaves_numerator_and_denominator() -> None:
    rule = Rule(metric="nfr", max=0.1, judge="value")
    assert compare(*BROKEN, rule).status == Status.FAIL
    result = compare(*BROKEN, rule, waivers=[waiver(instance=str(i)) for i in range(4)])
    found = one(result.verdict).measure
    assert found is not None
    assert (found.value, found.n) == (pytest.approx(8 / 96), 96)
    assert result.status == Status.PASS


def test_waived_flips_are_shown_and_still_measured() -> None:
    result = compare(*BROKEN, TIGHT, waivers=[waiver(instance="3")])
    assert result["nfr"].value == pytest.approx(0.12)
    waived = {flip.key: flip.waived for flip in result.flips if flip.waived}
    assert list(waived) == ["3"]
    assert "label is wrong" in (waived["3"] or "")
    (applied,) = result.verdict.waivers
    assert (applied.status, applied.flips) == ("applied", 1)


def test_a_waiver_of_a_slice_sets_its_flips_aside_and_no_others() -> None:
    old, new = tagged("R" * 100, "old"), tagged("W" * 12 + "R" * 88, "new")
    result = compare(old, new, NFR, waivers=[waiver(slice="subject=a")])
    found = one(result.verdict).measure
    assert found is not None
    assert (found.value, found.n) == (pytest.approx(6 / 94), 94)
    assert result.verdict.waivers[0].flips == 6


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"instance": "3", "expires": "2026-06-30"}, "expired"),
        ({"instance": "3", "expires": "2026-07-01"}, "applied"),  # the last day on which it holds
        ({"instance": "99"}, "unmatched"),  # did not flip
        ({"instance": "nosuch"}, "unmatched"),
        ({"slice": "subject=a"}, "unmatched"),
        ({"instance": "3", "suite": "other"}, "unmatched"),
    ],
)
def test_a_waiver_that_does_not_hold_sets_nothing_aside(given: dict[str, Any], status: str) -> None:
    policy = Policy(Gate((TIGHT,)), (waiver(**given),), date(2026, 7, 1))
    result: Result = compare(*BROKEN, policy=policy)
    assert result.verdict.waivers[0].status == status
    found = one(result.verdict).measure
    assert found is not None
    assert found.n == (99 if status == "applied" else 100)


def test_waiving_every_pair_leaves_nothing_to_pass() -> None:
    rule = Rule(metric="nfr", max=0.5)
    result = compare("RR", "WW", rule, waivers=[waiver(instance=key) for key in "01"])
    assert result.status == Status.INCONCLUSIVE


def test_waiving_all_of_one_slice_leaves_the_others_judged() -> None:
    def side(letters: str, model: str) -> Log:
        return log(letters, model, each=lambda i, _: {"tags": {"t": "b" if i == 100 else "a"}})

    rule = Rule(metric="nfr", max=0.1, slice="t=*")
    result = compare(
        side("R" * 101, "old"), side("R" * 100 + "W", "new"), rule, waivers=[waiver(instance="100")]
    )
    found = {one.slice: one.status for one in result.verdict.rules}
    assert found == {"t=a": Status.PASS, "t=b": Status.INCONCLUSIVE}
    assert result.status == Status.INCONCLUSIVE


@pytest.mark.parametrize(
    "lie",
    [
        Measure(math.nan, math.nan, math.nan, 10, "x"),
        Measure(0.5, 0.4, math.nan, 10, "x"),
        Measure(0.5, 0.6, 0.01, 10, "x"),
        Measure(0.0, 0.0, 0.0, 0, "x"),
        0.01,
    ],
)
def test_a_figure_that_is_none_is_never_judged(lie: Any) -> None:
    class Lying:
        def measure(self, pairs: Any, confidence: float) -> Any:
            return lie

    with pytest.raises(MetricError, match="metric 'lie'"):
        comparing._measured("lie", Lying(), binary_cells([[1]], [[0]]), 0.95)

"""The rule that the verdict rests on, and what it found, in one sentence.

A verdict that is no pass is nobody's fault but that rule's, so the page must not lead with another
figure: next to a red FAIL it would be read as the reason.
"""

from __future__ import annotations

from muscle_gov.data import Report, RuleResult, Status
from muscle_gov.explain import is_undecided
from muscle_gov.report import words

MUST_NOT_REGRESS = "must_not_regress"
_JUDGED = (Status.FAIL, Status.INCONCLUSIVE, Status.INCOMPARABLE)


def deciding_rules(report: Report) -> tuple[RuleResult, ...]:
    """Those that give the verdict its status, in the policy's order; none for a pass, and none where a
    finding forbids the comparison or the policy itself can pass nothing."""
    status = report.verdict.status
    if status not in _JUDGED or any(f.level == "blocks" for f in report.verdict.findings):
        return ()
    hit = [r for r in report.verdict.rules if r.status is status and r.rule.tier != "advisory"]
    # an undecided supporting rule holds nothing up, unless nothing else is there
    binding = [r for r in hit if not (r.rule.tier == "supporting" and is_undecided(r))]
    return tuple(binding or hit)


def found_by(result: RuleResult, report: Report) -> str:
    """What the rule found and what the policy asks, in a sentence."""
    measure = result.measure
    if measure is None or measure.value is None or result.status is Status.INCOMPARABLE:
        return _reason(result)
    if result.rule.metric == MUST_NOT_REGRESS:
        return _of_list(result, report) if result.status is Status.FAIL else _reason(result)
    known = words.words_of(result.rule.metric)
    limit = limit_of(result)
    value = words.apart(measure.value, limit, known.unit)
    undecided = ": the data do not decide" if result.status is Status.INCONCLUSIVE else ""
    title = words.sentence(known.spelled)
    return f"{title}{_inside(result)} is {value}{bound_words(result)}; {asked(result)}{undecided}."


def limit_of(result: RuleResult) -> float:
    rule = result.rule
    limit = rule.max if rule.max is not None else rule.min
    return 0.0 if limit is None else limit


def asked(result: RuleResult) -> str:
    """`the policy allows 5 %`, `the policy asks for at least −2 pp`"""
    limit = words.limit_text(limit_of(result), words.words_of(result.rule.metric).unit)
    if result.rule.max is not None:
        return f"the policy allows {limit}"
    return f"the policy asks for at least {limit}"


def bound_words(result: RuleResult) -> str:
    """`, at most 7.9 % with 95 % confidence`: the bound that decided; empty where none was judged.

    A rule passes by the far bound and fails by the near one.
    """
    rule, measure = result.rule, result.measure
    if measure is None or rule.judge == "value":
        return ""
    is_high = (rule.max is not None) != (result.status is Status.FAIL)
    bound = measure.high if is_high else measure.low
    if bound is None:
        return ""
    unit = words.words_of(rule.metric).unit
    text = words.apart(bound, limit_of(result), unit)
    sure = words.limit_text(rule.confidence, "share")
    return f", {'at most' if is_high else 'at least'} {text} with {sure} confidence"


def _inside(result: RuleResult) -> str:
    if result.suite == "(all)":
        return " over all suites"
    if result.slice is not None:
        return f" in the slice {result.slice} of {result.suite}"
    return f" in the suite {result.suite}"


def _reason(result: RuleResult) -> str:
    """The gate's own words."""
    where = f"{result.suite} [{result.slice}]: " if result.slice else f"{result.suite}: "
    if not result.reason.startswith(where):
        return f"{result.reason}."
    told = result.reason.removeprefix(where)
    place = f"{result.suite}, slice {result.slice}" if result.slice else result.suite
    place = "All suites pooled" if result.suite == "(all)" else place
    return f"{place}: {told}."


def _of_list(result: RuleResult, report: Report) -> str:
    measure = result.measure
    assert measure is not None  # noqa: S101 - `found_by` has made sure
    broke = round(measure.value or 0.0)
    kinds = {f.kind for f in report.comparison.suites if f.suite == result.suite}
    verb = "got worse" if kinds == {"graded"} else "broke"
    name = f"the list '{result.rule.name}'" if result.rule.name else "a list that must not regress"
    if broke == measure.n:
        who = "The only answer" if broke == 1 else f"All {words.count(broke)} answers"
    else:
        some = "One" if broke == 1 else words.count(broke)
        who = f"{some} of {words.plural(measure.n, 'answer')}"
    return f"{who} on {name} {verb}, and none may."

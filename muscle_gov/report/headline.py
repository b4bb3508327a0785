"""The verdict's numbers in plain language, for whoever reads one sentence and no table.

The first sentence is of what decided: the flip rate where a rule on it did (or none did), else the
finding of the rule that did, with the flip rate after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from muscle_gov.data import (
    Candidate,
    Comparison,
    Measure,
    Report,
    RuleResult,
    Status,
    SuiteFigures,
)
from muscle_gov.report import words
from muscle_gov.report.deciding import asked, bound_words, deciding_rules, found_by
from muscle_gov.text import one_line

_BESIDE = 4
_NAME = 60


@dataclass(frozen=True)
class Headline:
    sentence: str
    more: tuple[str, ...]
    """Further ones."""
    told: RuleResult | None
    """The rule whose finding and limit stand in the first sentence; None where none does."""


def main_figures(comparison: Comparison) -> SuiteFigures | None:
    """What the headline speaks of: all suites pooled, else the one suite, else the worst of them.

    Right-or-wrong suites go before graded ones; None if there is no suite at all.
    """
    if comparison.total is not None:
        return comparison.total
    for kind, metric in (("binary", "nfr"), ("graded", "regression_rate")):
        found = [f for f in comparison.suites if f.kind == kind]
        if found:
            return max(found, key=lambda f: _low(f.measures.get(metric)))
    return None


def _low(measure: Measure | None) -> float:
    if measure is None or measure.value is None:
        return -1.0
    return measure.value if measure.low is None else measure.low


def headline(report: Report) -> Headline:
    rate, more = _figures_in_words(report)
    more = (*more, *_tried(report), *_beside(report))
    main, decided = main_figures(report.comparison), deciding_rules(report)
    if report.verdict.status is Status.INCOMPARABLE:
        # numbers that may be the harness's doing do not lead
        at_face = f"Taken at face value: {rate[:1].lower()}{rate[1:]}"
        if not decided:
            return Headline("These runs may not be compared as they are.", (at_face, *more), None)
        others = _others(decided[1:], report)
        return Headline(found_by(decided[0], report), (*others, at_face, *more), decided[0])
    if decided and main is not None and not any(_is_on(result, main) for result in decided):
        if main.suite == "(all)":
            rate = f"Over all suites, {rate[:1].lower()}{rate[1:]}"
        others = _others(decided[1:], report)
        return Headline(_lead(decided[0], report), (*others, rate, *more), decided[0])
    return _of_rate(rate, more, report)


def _of_rate(rate: str, more: tuple[str, ...], report: Report) -> Headline:
    """Led by the flip rate; further rules that decide are told behind it, unless the reason has to."""
    main, decided = main_figures(report.comparison), deciding_rules(report)
    own = None if main is None else limiting_rule(main, report)
    told = own if own is not None and _tells(rate, own) else None
    others = [result for result in decided if result is not told]
    if told is None or told not in decided or not others:
        return Headline(rate, more, told)
    if decided[0] is not told and len(others) > 1:
        return Headline(rate, more, None)
    return Headline(rate, (*_others(others, report), *more), decided[0])


def _is_on(result: RuleResult, figures: SuiteFigures) -> bool:
    """Whether the rule is one on the very flip rate that the sentence tells."""
    return (result.rule.metric, result.suite, result.slice) == ("nfr", figures.suite, None)


def _tells(rate: str, result: RuleResult) -> bool:
    """Whether the sentence has what the rule was judged by."""
    text = asked(result) if result.rule.judge == "value" else bound_words(result)
    return text != "" and text in rate


def _lead(result: RuleResult, report: Report) -> str:
    """What the rule found; of a flip rate in the words in which every flip rate is told."""
    place = (result.suite, result.slice)
    figures = next((f for f in report.comparison.suites if (f.suite, f.slice) == place), None)
    if result.rule.metric == "nfr" and figures is not None and limiting_rule(figures, report) is result:
        rate = _in_suite(figures, _binary(figures, report)[0])
        if _tells(rate, result):
            return rate
    return found_by(result, report)


def _others(decided: Sequence[RuleResult], report: Report) -> tuple[str, ...]:
    """The other rules that gave the verdict: one is told, several are counted."""
    if len(decided) < 2:
        return tuple(found_by(result, report) for result in decided)
    told = {Status.FAIL: "broken", Status.INCONCLUSIVE: "not decided"}.get(decided[0].status, "not met")
    return (f"{words.count(len(decided))} more rules are {told}.",)


def _in_suite(figures: SuiteFigures, sentence: str) -> str:
    return f"In the suite {figures.suite}, {sentence[:1].lower()}{sentence[1:]}"


def _tried(report: Report) -> tuple[str, ...]:
    """That what is judged was chosen: how many were tried on the same answers, if it is a mended one."""
    n = sum(one.role == "mitigation" for one in report.candidates)
    if subject_of(report) is None or not n:
        return ()
    if n == 1:
        return ("One way to mend the update was tried, judged on the same answers.",)
    return (f"It is one of {words.count(n)} mended models that were judged on the same answers.",)


def subject_of(report: Report) -> Candidate | None:
    """The mended model that the report is about; None where it is about the update as it came."""
    return next(
        (
            one
            for one in report.candidates
            if one.role == "mitigation" and one.comparison.id == report.comparison.id
        ),
        None,
    )


def _beside(report: Report) -> tuple[str, ...]:
    """How the other models that could ship in its place were judged, if there are any."""
    told = [
        f"{one_line(one.name, _NAME)} {one.verdict.status.value}"
        for one in report.candidates
        if one.role != "control" and one.comparison.id != report.comparison.id
    ]
    return (f"Judged by the same rules: {words.listed(told, _BESIDE)}.",) if told else ()


def _figures_in_words(report: Report) -> tuple[str, tuple[str, ...]]:
    comparison = report.comparison
    main = main_figures(comparison)
    if main is None or not main.n_pairs:
        return "No answer has a score on both sides, so nothing can be said.", ()
    write = _binary if main.kind == "binary" else _graded
    sentence, more = write(main, report)
    if main.suite != "(all)" and len(comparison.suites) > 1:
        sentence = _in_suite(main, sentence)
    alike = sum(f.kind == main.kind for f in comparison.suites)
    if len(comparison.suites) > 1 and main.suite == "(all)":
        more = (*more, f"These are all {alike} suites of right-or-wrong answers pooled.")
    elif alike > 1 and main.kind == "binary":
        more = (*more, f"Of the {alike} suites scored right or wrong it broke the most.")
    elif alike > 1:
        more = (*more, f"Of the {alike} suites scored on a scale the most answers got worse in it.")
    return sentence, more


def _binary(figures: SuiteFigures, report: Report) -> tuple[str, tuple[str, ...]]:
    nfr, n = figures.measures.get("nfr"), words.count(figures.n_pairs)
    if nfr is None or nfr.value is None:
        broke = figures.outcomes.get("right>wrong", 0)
        return f"Of {n} answers {words.count(broke)} that were right are now wrong.", ()
    share, sure = words.percent(nfr.value), _surety(nfr, figures, report)
    flips = _whole(nfr)
    if flips is None:
        text = f"Averaged over repeats, of {n} answers {share} were right and are now wrong{sure}."
    elif flips == 0:
        text = f"Of {n} answers none that was right is now wrong{sure}."
    else:
        them = "that was right is" if flips == 1 else "that were right are"
        text = f"Of {n} answers {words.count(flips)} {them} now wrong: {share}{sure}."
    return text, (*_mended(figures), *_change_of(figures, "accuracy"))


def _whole(rate: Measure) -> int | None:
    """How many answers a rate stands for; None if it is an average over repeats, and so no count."""
    n = (rate.value or 0.0) * rate.n
    return round(n) if abs(n - round(n)) < 1e-6 else None


def _surety(measure: Measure, figures: SuiteFigures, report: Report) -> str:
    """The bound and the limit of the one rule on this very figure, else its interval."""
    reach = words.interval(measure, "share")
    sure = words.limit_text(report.comparison.confidence, "share")
    plain = f" ({sure} interval {reach})" if reach else ""
    result = limiting_rule(figures, report)
    if result is None or result.rule.max is None:
        return plain
    seen, bound, allows = result.measure, bound_words(result), f"; {asked(result)}"
    if seen is None or seen.value is None:
        return plain + allows
    if (seen.value, seen.n) == (measure.value, measure.n):
        return (bound or plain) + allows
    given = [a.status for a in report.verdict.waivers] + [a.status for a in report.verdict.quarantined]
    if "applied" not in given:
        return plain + allows
    # the rule judged other numbers: with waived and quarantined answers set aside
    without = words.apart(seen.value, result.rule.max, "share")
    if without == words.percent(measure.value or 0.0):
        without = ""  # said once is enough
    aside = f"{without}{bound}".removeprefix(", ")
    return f"{plain}{f'; without what is set aside {aside}' if aside else ''}{allows}"


def limiting_rule(figures: SuiteFigures, report: Report) -> RuleResult | None:
    """The rule that limits this NFR; None where none does, or several with limits of their own."""
    found = [
        one
        for one in report.verdict.rules
        if (one.rule.metric, one.suite, one.slice) == ("nfr", figures.suite, None)
        and one.rule.max is not None
        and one.rule.tier != "advisory"
    ]
    limits = {(one.rule.max, one.rule.confidence) for one in found}
    return found[0] if len(limits) == 1 else None


def _mended(figures: SuiteFigures) -> tuple[str, ...]:
    pfr = figures.measures.get("pfr")
    if pfr is None or pfr.value is None:
        return ()
    gained = _whole(pfr)
    if gained is None:
        return (f"{words.percent(pfr.value)} were wrong and are now right.",)
    them = "that was wrong is" if gained in (0, 1) else "that were wrong are"
    return (f"{words.count(gained) if gained else 'None'} {them} now right.",)


def _change_of(figures: SuiteFigures, what: str) -> tuple[str, ...]:
    """How the mean went from old to new, and whether that is more than noise."""
    names = (f"{what}_old", f"{what}_new", f"{what}_delta")
    delta = figures.measures.get(names[2])
    known = [figures.measures[name].value for name in names if name in figures.measures]
    values = [value for value in known if value is not None]
    if delta is None or len(values) < len(names):
        return ()
    places = words.decimals_of(delta)
    old, new, change = (
        words.number(value, words.words_of(name).unit, places)
        for name, value in zip(names, values, strict=True)
    )
    title = "Accuracy" if what == "accuracy" else "The mean score"
    return (f"{title} went from {old} to {new} ({change}{_noise(figures.p_value)}).",)


def _noise(p: float | None) -> str:
    if p is None:
        return ""
    text = words.p_text(p)
    told = f"p {text}" if text[0] in "<>" else f"p = {text}"
    if p < 0.05:
        return f", more than noise alone would explain: {told}"
    return f", may be noise: {told}"


def _graded(figures: SuiteFigures, report: Report) -> tuple[str, tuple[str, ...]]:
    worse, better = figures.measures.get("regression_rate"), figures.measures.get("gain_rate")
    n = words.count(figures.n_pairs)
    if worse is None or worse.value is None or better is None or better.value is None:
        return f"{n} answers were scored on both sides.", ()
    reach, sure = words.interval(worse, "share"), words.limit_text(report.comparison.confidence, "share")
    text = (
        f"Of {n} scored answers {words.count(round(worse.value * worse.n))} got worse: "
        f"{words.percent(worse.value)}{f' ({sure} interval {reach})' if reach else ''}."
    )
    gained = f"{words.count(round(better.value * better.n))} got better."
    return text, (gained, *_change_of(figures, "score"))

"""The verdict's numbers in plain language, for whoever reads one sentence and no table."""

from __future__ import annotations

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
from muscle_gov.text import one_line

_BESIDE = 4
_NAME = 60


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


def headline(report: Report) -> tuple[str, tuple[str, ...]]:
    """(the sentence, further ones)."""
    sentence, more = _figures_in_words(report)
    more = (*more, *_tried(report), *_beside(report))
    if report.verdict.status is Status.INCOMPARABLE:
        # numbers that may be the harness's doing do not lead
        told = f"Taken at face value: {sentence[:1].lower()}{sentence[1:]}"
        return "These runs may not be compared as they are.", (told, *more)
    return sentence, more


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
        sentence = f"In the suite {main.suite}, {sentence[:1].lower()}{sentence[1:]}"
    if len(comparison.suites) > 1 and main.suite == "(all)":
        binary = sum(f.kind == "binary" for f in comparison.suites)
        more = (*more, f"These are all {binary} suites of right-or-wrong answers pooled.")
    elif len(comparison.suites) > 1:
        more = (*more, f"It is the worst of its kind among {len(comparison.suites)} suites.")
    return sentence, more


def _binary(figures: SuiteFigures, report: Report) -> tuple[str, tuple[str, ...]]:
    nfr, n = figures.measures.get("nfr"), words.count(figures.n_pairs)
    if nfr is None or nfr.value is None:
        broke = figures.outcomes.get("right>wrong", 0)
        return f"Of {n} answers {words.count(broke)} that were right are now wrong.", ()
    share, sure = words.percent(nfr.value), _surety(nfr, figures, report)
    flips = _whole(nfr)
    if flips is None:
        text = f"Averaged over repeats, {share} of {n} answers that were right are now wrong{sure}."
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
    result = _deciding(figures, report)
    if result is None or result.rule.max is None:
        return plain
    limit, seen = result.rule.max, result.measure
    allows = f"; the policy allows {words.limit_text(limit, 'share')}"
    if seen is None or seen.value is None or seen.high is None:
        return plain + allows
    sure = words.limit_text(result.rule.confidence, "share")
    bound = f", at most {words.apart(seen.high, limit, 'share')} with {sure} confidence"
    if (seen.value, seen.n) == (measure.value, measure.n):
        return bound + allows
    given = [a.status for a in report.verdict.waivers] + [a.status for a in report.verdict.quarantined]
    if "applied" not in given:
        return plain + allows
    # the rule judged other numbers: with waived and quarantined answers set aside
    aside = f"; without what is set aside {words.apart(seen.value, limit, 'share')}"
    return f"{plain}{aside}{bound}{allows}"


def _deciding(figures: SuiteFigures, report: Report) -> RuleResult | None:
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
        return (f"{words.percent(pfr.value)} that were wrong are now right.",)
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
    return f", not told from noise: {told}"


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

"""What happened to an update, in plain words, written from the figures alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from muscle_gov.data import Status

if TYPE_CHECKING:
    from muscle_gov.data import Candidate, Measure, RuleResult, SuiteFigures, Verdict

_SAID = {
    Status.PASS: "may ship",
    Status.FAIL: "may not ship",
    Status.INCONCLUSIVE: "may or may not ship: so few answers do not decide",
    Status.INCOMPARABLE: "cannot be compared with the old one",
    Status.NOT_JUDGED: "was not judged",
}


TERMS = (
    "An answer that was right before and is wrong now is a negative flip. Their share of all answers is "
    "the NFR (negative flip rate)."
)


def of_update(update: Candidate) -> Iterator[str]:
    """What the update does to the answers, suite by suite, and what the gate says of it."""
    for figures in update.comparison.suites:
        if figures.kind == "binary":
            yield f"{figures.suite}: {_on_average(figures)} {_broken(figures)}"
    yield f"The gate: the update {_SAID[update.verdict.status]}.{_why(update.verdict)}"


def of_mending(candidates: Sequence[Candidate], suite: str) -> Iterator[str]:
    """What each candidate comes to on one suite, beside what it must be compared with."""
    for one in candidates[1:]:
        told = _against(candidates[0], one, suite)
        if told is None:
            continue
        noise = (one.noise or {}).get(suite)
        if noise is not None and noise.value is not None:
            told += (
                f". Against the update, which it merely repeats, it breaks {_percent(noise.value)}: "
                "that much is noise"
            )
        beside = "" if one.role == "mitigation" else f" ({_beside(one)})"
        yield f"{one.name}{beside}: {told}."


def of_verdicts(candidates: Sequence[Candidate]) -> Iterator[str]:
    """What may ship, and what to do if nothing may."""
    mended = [one for one in candidates if one.role == "mitigation"]
    for one in mended:
        yield f"{one.name}: {_SAID[one.verdict.status]}.{_why(one.verdict)}"
    passing = [one for one in mended if one.verdict.status is Status.PASS]
    if passing:
        yield f"So the update may ship as it was mended by {passing[0].name}; as it came, it " + (
            "might have shipped, too."
            if candidates[0].verdict.status is Status.PASS
            else f"{_SAID[candidates[0].verdict.status]}."
        )
    elif mended:
        yield (
            "So nothing may ship yet. Where the answers do not decide, more of them may: muscle-gov "
            "plan says how many."
        )


def _against(update: Candidate, one: Candidate, suite: str) -> str | None:
    """`78 of 2,000 answers broken, 27 fewer than by the update; 77.6 % right`."""
    before, now, right = _nfr(update, suite), _nfr(one, suite), _measure(one, suite, "accuracy_new")
    if before is None or now is None or right is None:
        return None
    broken, others = (round((m.value or 0) * m.n) for m in (now, before))
    apart = broken - others
    how = "as many as" if apart == 0 else f"{abs(apart):,} {'more' if apart > 0 else 'fewer'} than"
    return (
        f"{broken:,} of {now.n:,} answers broken ({_percent(now.value)}), {how} by the update; "
        f"{_percent(right.value)} right"
    )


def _beside(control: Candidate) -> str:
    if control.cost > 1:
        return f"{control.cost:g} models for each answer: what could be had at that price"
    about = control.about.partition(":")[0]
    return f"a control: {about[:1].lower()}{about[1:]}"


def _on_average(figures: SuiteFigures) -> str:
    old, new, delta = (
        figures.measures.get(name) for name in ("accuracy_old", "accuracy_new", "accuracy_delta")
    )
    if old is None or new is None or delta is None or delta.value is None:
        return ""
    points = 100 * delta.value
    how = "better" if points > 0 else "worse"
    what = f"{abs(points):.1f} points {how}" if abs(points) >= 0.05 else "as good"
    return (
        f"on average the update is {what} ({_percent(old.value)} of the answers were right, "
        f"{_percent(new.value)} are)."
    )


def _broken(figures: SuiteFigures) -> str:
    nfr = figures.measures.get("nfr")
    if nfr is None or nfr.value is None or nfr.low is None or nfr.high is None:
        return ""
    broken = round(nfr.value * figures.n_pairs)
    return (
        f"But of all {figures.n_pairs:,} answers {broken:,} that were right are wrong now: an NFR of "
        f"{_percent(nfr.value)} (95 % interval {100 * nfr.low:.1f} to {_percent(nfr.high)})."
    )


def _why(verdict: Verdict) -> str:
    if verdict.status is Status.PASS:
        return ""
    rule: RuleResult | None = next((r for r in verdict.rules if r.status is verdict.status), None)
    return f" {rule.reason}." if rule is not None else f" {verdict.reason}."


def _nfr(candidate: Candidate, suite: str) -> Measure | None:
    found = _measure(candidate, suite, "nfr")
    return found if found is not None and found.value is not None else None


def _measure(candidate: Candidate, suite: str, name: str) -> Measure | None:
    for figures in candidate.comparison.suites:
        if figures.suite == suite:
            return figures.measures.get(name)
    return None


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"

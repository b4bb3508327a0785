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
    Status.INCONCLUSIVE: "cannot be decided on so few answers",
    Status.INCOMPARABLE: "cannot be compared with the old one",
    Status.NOT_JUDGED: "was not judged",
}


def of_update(update: Candidate) -> Iterator[str]:
    """What the update does to the answers, suite by suite, and what the gate says of it."""
    for figures in update.comparison.suites:
        if figures.kind != "binary":
            continue
        yield f"{figures.suite}: {_on_average(figures)} {_broken(figures)}"
    yield f"The gate: the update {_SAID[update.verdict.status]}.{_why(update.verdict)}"


def of_mending(candidates: Sequence[Candidate], suite: str) -> Iterator[str]:
    """What each candidate comes to on one suite, beside what it must be compared with."""
    update = candidates[0]
    before = _nfr(update, suite)
    for one in candidates[1:]:
        now, right = _nfr(one, suite), _measure(one, suite, "accuracy_new")
        if before is None or now is None or right is None or not before.value:
            continue
        change = (now.value or 0) / before.value - 1
        told = f"{_percent(now.value)} of the answers broken ({change:+.0%})"
        told += f", {_percent(right.value)} right"
        if one.role == "mitigation":
            yield f"{one.name}: {told}. It {_SAID[one.verdict.status]}."
        else:
            yield f"{one.name} ({_beside(one)}): {told}."
    for one in candidates:
        noise = (one.noise or {}).get(suite)
        if noise is not None and noise.value is not None:
            yield (
                "Noise: training the update once more, with another seed, breaks "
                f"{_percent(noise.value)} of its answers by itself."
            )


def _beside(control: Candidate) -> str:
    if control.cost > 1:
        return f"{control.cost:g} models for each answer; the most that can be hoped for"
    return "trained again with another seed" if control.noise else "a control"


def _on_average(figures: SuiteFigures) -> str:
    old, new = (figures.measures.get(name) for name in ("accuracy_old", "accuracy_new"))
    if old is None or new is None or old.value is None or new.value is None:
        return ""
    points = 100 * (new.value - old.value)
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
        f"But {broken:,} of {figures.n_pairs:,} answers that were right are wrong now: "
        f"{_percent(nfr.value)}, with 95 % confidence {100 * nfr.low:.1f} to {_percent(nfr.high)}."
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

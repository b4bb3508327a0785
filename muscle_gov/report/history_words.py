"""A line of updates in sentences: how they were judged, what the whole way broke, what was tried twice.

Flips of successive updates are never summed: an answer may break, be mended and break again. What the
whole way broke is measured from the answers of the first and the last model, or it is said why not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from muscle_gov.data import Comparison, Measure, Status
from muscle_gov.report import words
from muscle_gov.report.headline import main_figures
from muscle_gov.report.history_lines import LineHistory, Step
from muscle_gov.report.history_tries import is_loosened, late_pass, n_other_verdicts, policy_changes
from muscle_gov.store.history import GivenVerdict, PastComparison
from muscle_gov.text import one_line

NAME = 60
_JUDGED = {
    Status.PASS: "passed",
    Status.FAIL: "failed",
    Status.INCONCLUSIVE: "inconclusive",
    Status.INCOMPARABLE: "not comparable",
    Status.NOT_JUDGED: "not judged",
}
RATE = {"binary": "nfr", "graded": "regression_rate"}
LEVELS = {
    "binary": ("accuracy_old", "accuracy_new", "accuracy_delta"),
    "graded": ("score_old", "score_new", "score_delta"),
}


@dataclass(frozen=True)
class Shown:
    """The figures that stand for an update: all suites pooled, else the worst one."""

    suite: str
    kind: str
    n_suites: int
    rate: Measure | None
    old: Measure | None
    new: Measure | None

    @property
    def metric(self) -> str:
        return RATE[self.kind]


def shown_of(comparison: PastComparison) -> Shown:
    """As the update report chooses them: right-or-wrong suites first, the worst by its lower bound."""
    figures = comparison.figures
    suites = [name for name in figures if name != "(all)"]
    chosen, kind = "", "binary"
    if "nfr" in figures.get("(all)", {}):
        chosen = "(all)"
    else:
        for kind in RATE:
            having = [name for name in suites if RATE[kind] in figures[name]]
            if having:
                chosen = max(having, key=lambda name: (_low(figures[name][RATE[kind]]), name))
                break
    found = figures.get(chosen, {})
    old, new, _ = (found.get(name) for name in LEVELS[kind])
    return Shown(chosen, kind, len(suites), found.get(RATE[kind]), old, new)


def _low(measure: Measure) -> float:
    if measure.value is None:
        return -1.0
    return measure.value if measure.low is None else measure.low


def limit_of(verdict: GivenVerdict | None, metric: str, suite: str) -> tuple[float | None, bool]:
    """(the strictest limit that decided, whether it is one on each suite and not on all pooled)."""
    if verdict is None:
        return None, False
    rules = [r for r in verdict.rules if _decides(r, metric)]
    for wanted, is_each in (([r for r in rules if r["suite"] == suite], False), (rules, True)):
        if wanted and (suite == "(all)" or not is_each):
            highest = [r["rule"]["max"] for r in wanted if r["rule"]["max"] is not None]
            return (min(highest) if highest else None), is_each
    return None, False


def _decides(result: Mapping[str, Any], metric: str) -> bool:
    rule = result["rule"]
    is_whole = result["slice"] is None
    return bool(is_whole and rule["metric"] == metric and rule["tier"] != "advisory")


def noise_of(step: Step, suite: str) -> float | None:
    """The flips that no update made: between repeats, else those of mere re-fits on average."""
    known = step.comparison.figures.get(suite, {}).get("noise_floor")
    if known is not None and known.value is not None:
        return known.value
    found = [c.noise[suite].value for c in step.controls if suite in c.noise]
    values = [value for value in found if value is not None]
    return sum(values) / len(values) if values else None


def mended_rates(step: Step, shown: Shown) -> tuple[tuple[float, str], ...]:
    """(rate where the update's own is shown, name) of each mended model beside it."""
    found = []
    for one in step.mended:
        measure = one.comparison.figures.get(shown.suite, {}).get(shown.metric)
        if measure is not None and measure.value is not None:
            name = one.comparison.candidate or one.comparison.new.name
            found.append((measure.value, one_line(name, NAME)))
    return tuple(found)


# ------------------------------------------------------------------------------------- the sentences


def day(moment: str) -> str:
    return moment[:10]


def judged(steps: Sequence[Step]) -> str:
    """7 updates since 2026-03-04: 5 passed, 1 of them only after its rules were loosened; 2 failed."""
    first = min(step.standing.comparison.created for step in steps)
    counts = [
        (sum(step.standing.status is status for step in steps), told) for status, told in _JUDGED.items()
    ]
    if len(steps) == 1:
        late = late_pass(steps[0])
        only = f", but {late.condition}" if late else ""
        return f"1 update, on {day(first)}: {next(told for n, told in counts if n)}{only}."
    parts = [f"{words.count(n)} {told}" for n, told in counts if n]
    conditions = _conditions(steps)
    if conditions:  # of those that passed, who stand first
        parts[0] += f", {conditions}"
    told = ("; " if conditions else ", ").join(parts)
    return f"{words.count(len(steps))} updates since {day(first)}: {told}."


def _conditions(steps: Sequence[Step]) -> str:
    """1 of them only after its rules were loosened, 2 only after suites were left out"""
    late = [found for found in map(late_pass, steps) if found is not None]
    counts = Counter(one.condition for one in late)
    told = [
        f"{words.count(n)} {condition.replace('its', 'their') if n > 1 else condition}"
        for condition, n in sorted(counts.items())
    ]
    if told:
        n, _, rest = told[0].partition(" ")
        told[0] = f"{n} of them {rest}"
    return ", ".join(told)


def drift(history: LineHistory) -> tuple[str, ...]:
    """What became of the first model's right answers on the way to the last one."""
    first, last = (one_line(m.name, NAME) for m in (history.line.models[0], history.line.models[-1]))
    if len(history.line.steps) == 1:
        return _of_one(history.line.steps[0], first, last)
    if history.drift is None:
        why = history.why_no_drift
        return (f"What the whole way from {first} to {last} broke can't be measured: {why}.",)
    told = _drift_figures(history.drift, first, last)
    blocking = [f.message for f in history.drift.findings if f.level == "blocks"]
    if not blocking:
        return told
    return (
        f"{first} and {last} may not be compared as they are ({words.listed(blocking, 2)}).",
        f"Taken at face value: {told[0][:1].lower()}{told[0][1:]}",
        *told[1:],
    )


def _of_one(step: Step, first: str, last: str) -> tuple[str, ...]:
    """A single update by its stored figures."""
    shown = shown_of(step.comparison)
    if shown.rate is None or shown.rate.value is None:
        return ()
    told = _counted(shown.rate, shown.rate.n, step.comparison.confidence)
    is_one = shown.suite != "(all)" and shown.n_suites > 1
    where = f" in the suite {one_line(shown.suite, NAME)}" if is_one else ""
    became = "were right and are wrong now" if shown.kind == "binary" else "score worse now"
    apart = "Taken at face value, from" if step.standing.status is Status.INCOMPARABLE else "From"
    return (f"{apart} {first} to {last}, {told} {became}{where}.",)


def _drift_figures(comparison: Comparison, first: str, last: str) -> tuple[str, ...]:
    main = main_figures(comparison)
    if main is None or not main.n_pairs:
        return (f"No answer of {first} and {last} has a score on both sides.",)
    is_one = main.suite != "(all)" and len(comparison.suites) > 1
    where = f" in the suite {one_line(main.suite, NAME)}" if is_one else ""
    if main.kind == "graded":
        told = _counted(main.measures.get("regression_rate"), main.n_pairs, comparison.confidence)
        return (f"From {first} to {last}, {told} score worse now{where}.",)
    nfr, pfr = main.measures.get("nfr"), main.measures.get("pfr")
    broke = _counted(nfr, main.n_pairs, comparison.confidence)
    found = [f"From {first} to {last}, {broke} were right and are wrong now{where}."]
    if pfr is not None and pfr.value is not None:
        levels = [main.measures.get(name) for name in ("accuracy_old", "accuracy_new")]
        values = [words.percent(m.value) for m in levels if m is not None and m.value is not None]
        told = f"; accuracy {' → '.join(values)}" if len(values) == 2 else ""
        found.append(f"{words.percent(pfr.value)} went the other way{told}.")
    return tuple(found)


def _counted(measure: Measure | None, pairs: int, confidence: float) -> str:
    """82 of 2,000 answers (4.1 %, 95 % interval 3.2 to 5.1 %)"""
    if measure is None or measure.value is None:
        return f"an unknown number of {words.count(pairs)} answers"
    n, share = measure.value * pairs, words.percent(measure.value)
    about = "" if abs(n - round(n)) < 1e-6 else "about "
    reach = words.interval(measure, "share")
    sure = f", {words.limit_text(confidence, 'share')} interval {reach}" if reach else ""
    return f"{about}{words.count(round(n))} of {words.count(pairs)} answers ({share}{sure})"


def remarks(history: LineHistory) -> tuple[str, ...]:
    """What must not be overlooked: loosened rules, second tries, answers that break again and again."""
    line, changed = history.line, policy_changes(history.line)
    found = _late(line.steps)
    looser = [i for i, one in enumerate(changed, 1) if is_loosened(one.before)]
    if looser:
        found.append(f"The rules were loosened before {_updates(looser)}.")
    after = [
        i
        for i, (step, one) in enumerate(zip(line.steps, changed, strict=True), 1)
        if is_loosened(one.after) and late_pass(step) is None
    ]
    if after:
        found.append(f"The rules were loosened after the first verdict on {_updates(after)}.")
    found += _retried(line.steps)
    mended = [
        f"{one_line(m.comparison.candidate or m.comparison.new.name, NAME)} {m.status.value}"
        for m in line.steps[-1].mended
    ]
    if mended:
        found.append(f"Mended models beside the newest update: {words.listed(mended, 4)}.")
    apart = [i for i, s in enumerate(line.steps, 1) if s.standing.status is Status.INCOMPARABLE]
    if apart:
        found.append(f"The runs of {_updates(apart)} differ in more than the model.")
    paths = history.paths
    if paths.n_repeated:
        found.append(f"{_answers(paths.n_repeated)} broke in more than one update.")
    if paths.n_open:
        found.append(
            f"{_answers(paths.n_open)} broke before the newest update and never came right again."
        )
    return tuple(found)


_MOST_LATE = 8


def _late(steps: Sequence[Step]) -> list[str]:
    """Each update that passed only when less was asked of it, the newest first."""
    late = [(i, found) for i, step in enumerate(steps, 1) if (found := late_pass(step)) is not None]
    told = [
        f"Update {i} {_was(one.before.status)}; it passed {one.why}."
        for i, one in late[: -_MOST_LATE - 1 : -1]
    ]
    if len(late) > _MOST_LATE:
        told.append(f"{words.count(len(late) - _MOST_LATE)} older updates passed so, too.")
    return told


def _was(status: Status) -> str:
    return "failed" if status is Status.FAIL else f"was {status.value}"


def _retried(steps: Sequence[Step]) -> list[str]:
    """Updates on which verdicts differ; the single one before a pass that is told already is not."""
    by_count: dict[int, list[int]] = {}
    for i, step in enumerate(steps, 1):
        n = n_other_verdicts(step)
        if n > 1 or (n and late_pass(step) is None):
            by_count.setdefault(n, []).append(i)
    told = []
    for n, numbers in sorted(by_count.items()):
        verb = "has" if len(numbers) == 1 else "each have" if n > 1 else "have"
        what = "another verdict" if n == 1 else f"{words.count(n)} other verdicts"
        told.append(f"{_updates(numbers).capitalize()} {verb} {what} beside the one that stands.")
    return told


def _updates(numbers: Sequence[int]) -> str:
    return f"update{'' if len(numbers) == 1 else 's'} {words.listed([str(n) for n in numbers], 8)}"


def _answers(n: int) -> str:
    return f"{words.count(n)} answer{'' if n == 1 else 's'}"

"""The models that were judged against the same old one, side by side: places, figures and sentences.

An update, what mended it and the controls stand in the order that they are given in. Mended models are
measured against the update itself, since that is what would ship without them. Such a change has no
interval here: both figures rest on the same answers, so their two intervals do not give one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from muscle_gov.data import Candidate, Measure, Report, Status, SuiteFigures
from muscle_gov.report import words
from muscle_gov.report.figures import TOTAL_NAME
from muscle_gov.text import one_line

ROLES = {"update": "update", "mitigation": "mended", "control": "control"}
LEVEL = {"binary": "accuracy_new", "graded": "score_new"}
RATE = {"binary": "nfr", "graded": "regression_rate"}
LEVEL_TITLES = {"binary": "Accuracy", "graded": "Score"}
_NAMES_AT_ONCE = 3
_NAME = 60


@dataclass(frozen=True)
class Place:
    """A suite, or all of them pooled, as every candidate was measured on it."""

    suite: str
    kind: str
    figures: tuple[SuiteFigures | None, ...]
    """One for each candidate; None where it was not measured there."""

    @property
    def name(self) -> str:
        return TOTAL_NAME if self.suite == "(all)" else self.suite or "(no name)"


def places_of(report: Report) -> list[Place]:
    """All suites pooled first, then each one, in the order of the comparisons; none comes twice."""
    compared = [report.comparison, *(one.comparison for one in report.candidates)]
    totals = [c.total for c in compared if c.total is not None]
    found = dict.fromkeys((f.suite, f.kind) for f in totals)
    found |= dict.fromkeys((f.suite, f.kind) for c in compared for f in c.suites)
    return [
        Place(suite, kind, tuple(_figures(one, suite, kind) for one in report.candidates))
        for suite, kind in found
    ]


def _figures(one: Candidate, suite: str, kind: str) -> SuiteFigures | None:
    total = one.comparison.total
    listed = [*([total] if total else []), *one.comparison.suites]
    return next((f for f in listed if (f.suite, f.kind) == (suite, kind)), None)


def measure_of(figures: SuiteFigures | None, metric: str) -> Measure | None:
    """The figure, if it was measured and is a number."""
    found = None if figures is None else figures.measures.get(metric)
    if found is None or found.value is None or not math.isfinite(found.value):
        return None
    return found


def noise_of(report: Report, place: Place) -> list[tuple[Candidate, Measure]]:
    if place.kind != "binary":
        return []
    found = [(one, (one.noise or {}).get(place.suite)) for one in report.candidates]
    return [(one, m) for one, m in found if m is not None and m.value is not None]


def pairs_of(place: Place) -> str:
    """n = 1,990 to 2,000 pairs"""
    sizes = sorted({f.n_pairs for f in place.figures if f is not None})
    if not sizes:
        return "no pairs"
    return f"n = {' to '.join(map(words.count, dict.fromkeys((sizes[0], sizes[-1]))))} pairs"


def is_turned(report: Report, place: Place) -> bool:
    """Whether a lower score is the better one, by what the log says of itself."""
    if place.kind == "binary":
        return False
    header = report.comparison.headers.get(place.suite)
    return header is not None and header[0].get("higher_is_better") is False


# ------------------------------------------------------------------------------------- in one sentence


def several_tried(report: Report) -> str:
    """That a choice among many is no test of the chosen; empty where nothing was chosen from."""
    n = sum(one.role == "mitigation" for one in report.candidates)
    if n < 2:
        return ""
    return (
        f"{words.count(n)} mended models were judged on the same answers; the more are tried, the "
        "likelier one passes by chance. Each verdict holds for its own model; that of one picked "
        "because it passed is surer after a check on answers that took no part in the choice."
    )


def short_name(name: str) -> str:
    return one_line(name, _NAME)


def sentence(report: Report, place: Place, quote: Callable[[str], str] = short_name) -> str:
    """What update, mended models and controls break, in one sentence for whoever reads no table.

    `quote` makes a candidate's name, which may hold anything, fit for where the sentence will stand.
    """
    pairs = list(zip(report.candidates, place.figures, strict=True))
    told = _Told.of(place)
    if told is None:
        return "No candidate was measured here."
    parts = [
        f"the update {told.verb} {told.rate(f)}" + _apart(c) for c, f in pairs if c.role == "update"
    ]
    parts += _mended(told, [(c, f) for c, f in pairs if c.role == "mitigation"], quote)
    for one, figures in pairs:
        if one.role == "control" and one.cost > 1:
            together = "two models" if one.cost == 2 else f"{one.cost:g} models"
            parts.append(f"{together} together would {told.bare} {told.rate(figures)}" + _apart(one))
    floor = [m.value for _, m in noise_of(report, place) if m.value is not None]
    if floor:
        reach = " to ".join(dict.fromkeys(map(words.percent, (min(floor), max(floor)))))
        parts.append(f"a mere re-fit turns {reach} of the update's own answers from right to wrong")
    if not parts:
        return f"{told.n} were scored on both sides."
    return f"Of {told.n} {parts[0]}{''.join(f'; {part}' for part in parts[1:])}."


@dataclass(frozen=True)
class _Told:
    """How rates are told: as counts where all rest on the same number of whole answers."""

    n: str
    verb: str
    bare: str
    as_counts: bool
    metric: str

    @classmethod
    def of(cls, place: Place) -> _Told | None:
        known = [m for f in place.figures if (m := measure_of(f, RATE[place.kind])) is not None]
        if not known:
            return None
        sizes = sorted({m.n for m in known})
        counts = [(m.value or 0.0) * m.n for m in known]
        whole = len(sizes) == 1 and all(abs(n - round(n)) < 1e-6 for n in counts)
        n = " to ".join(words.count(size) for size in dict.fromkeys((sizes[0], sizes[-1])))
        if place.kind == "graded":
            return cls(f"{n} scored answers", "worsens", "worsen", whole, RATE["graded"])
        return cls(f"{n} answers", "breaks", "break", whole, RATE["binary"])

    def rate(self, figures: SuiteFigures | None) -> str:
        found = measure_of(figures, self.metric)
        if found is None or found.value is None:
            return "an unknown number"
        return (
            words.count(round(found.value * found.n)) if self.as_counts else words.percent(found.value)
        )


def _mended(
    told: _Told, found: Sequence[tuple[Candidate, SuiteFigures | None]], quote: Callable[[str], str]
) -> list[str]:
    if len(found) <= _NAMES_AT_ONCE:
        return [
            f"mended with {quote(one.name)}, {told.rate(figures)}{_apart(one)}" for one, figures in found
        ]
    known = [measure_of(figures, told.metric) for _, figures in found]
    ranked = sorted((m.value or 0.0, i) for i, m in enumerate(known) if m is not None)
    if not ranked:
        return [f"none of {len(found)} mended models was measured"]
    ends = [found[ranked[i][1]] for i in (0, -1)]
    least, most = (f"{told.rate(f)} ({quote(c.name)}{_apart(c)})" for c, f in ends)
    return [f"{words.count(len(ranked))} mended models, from {least} to {most}"]


def _apart(one: Candidate) -> str:
    """A figure that may be the harness's doing does not stand there as if it were not."""
    return " (at face value: the runs differ)" if one.verdict.status is Status.INCOMPARABLE else ""


def change_of(
    report: Report, place: Place, number: int, metric: str
) -> tuple[float, float | None] | None:
    """(against the update, in shares of what the update has); None for the update and for unknowns.

    The share is None where the update has none of it. `number` is the candidate's place from 0.
    """
    before = next((i for i, one in enumerate(report.candidates) if one.role == "update"), None)
    if before is None or before == number:
        return None
    old, now = (measure_of(place.figures[i], metric) for i in (before, number))
    if old is None or now is None or old.value is None or now.value is None:
        return None
    by = now.value - old.value
    return by, by / old.value if old.value else None


def relative(share: float) -> str:
    """−52 %, a change in percent of what it was"""
    return f"{'+' if share > 0 else ''}{words.percent(share, 0)}"

"""The flip rates of all suites on one scale, worst first: the first look before the table of figures.

A row is a suite. Its limit and its noise floor stand in the row itself, since they may differ from suite
to suite; where they do not, they line up to one line and one band across the rows. Pictures are as wide
as there is room for, so that their positions are shares of the width; strokes keep their thickness.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from muscle_gov.data import Comparison, SuiteFigures
from muscle_gov.report import words
from muscle_gov.report.bars import Scale, scale_of
from muscle_gov.report.figures import KIND_TITLES, TOTAL_NAME, WORST_BY, Limits, confidence_text, surely

FEWEST_SUITES = 2
SUITES_AT_ONCE = 30
_WIDTH = 1000.0


@dataclass(frozen=True)
class StripRow:
    """One suite; positions are SVG numbers from 0 to 1000."""

    anchor: str
    """Id of its row in the table of figures."""
    name: str
    label: str
    text: str
    change: str
    """The change of accuracy or of the mean score."""
    value: str
    low: str
    high: str
    limit: str | None
    noise: str | None
    is_over: bool
    """The value lies beyond the limit. Says nothing of whether that is sure."""
    is_total: bool


@dataclass(frozen=True)
class Strip:
    kind: str
    title: str
    ticks: tuple[str, str, str]
    """Texts at 0, in the middle and at the end of the scale."""
    rows: tuple[StripRow, ...]
    more: tuple[StripRow, ...]
    has_limit: bool
    has_noise: bool


def anchor_of(kind: str, number: int) -> str:
    """Id of the row of a suite in the table of figures, by its place there from 1."""
    return f"suite-{kind}-{number}"


def view_strips(comparison: Comparison, limits: Limits) -> tuple[Strip, ...]:
    """One for each kind of suite of which there are several."""
    found = []
    for kind in WORST_BY:
        figures = [f for f in comparison.suites if f.kind == kind]
        if len(figures) >= FEWEST_SUITES:
            strip = _strip(comparison, kind, figures, limits)
            if strip is not None:
                found.append(strip)
    return tuple(found)


def _strip(
    comparison: Comparison, kind: str, figures: Sequence[SuiteFigures], limits: Limits
) -> Strip | None:
    metric, total = WORST_BY[kind], comparison.total
    anchors = {id(f): anchor_of(kind, n) for n, f in enumerate(figures, 1)}
    whole = list(figures)
    if total is not None and total.kind == kind:
        whole.append(total)
        anchors[id(total)] = anchor_of(kind, len(whole))
    measured = [f for f in whole if _value(f, metric) is not None]
    known = [limits[place] for f in whole if (place := (metric, f.suite, None)) in limits]
    floors = [floor for f in whole if (floor := _value(f, "noise_floor")) is not None]
    scale = scale_of(metric, [f.measures[metric] for f in measured], [*known, *floors])
    if scale is None:
        return None
    measured.sort(key=lambda f: (f is not total, -surely(f), f.suite))
    sure = confidence_text(comparison)
    rows = tuple(_row(f, metric, anchors[id(f)], (scale, limits, sure)) for f in measured)
    unit = words.words_of(metric).unit
    reach = scale.high - scale.low
    ends = [words.limit_text(scale.low + share * reach, unit) for share in (0, 0.5, 1)]
    return Strip(
        kind,
        f"{words.words_of(metric).title} of every suite, {KIND_TITLES[kind].lower()}",
        (ends[0], ends[1], ends[2]),
        rows[:SUITES_AT_ONCE],
        rows[SUITES_AT_ONCE:],
        any(row.limit is not None for row in rows),
        any(row.noise is not None for row in rows),
    )


def _value(figures: SuiteFigures, metric: str) -> float | None:
    measure = figures.measures.get(metric)
    return None if measure is None else measure.value


def _row(figures: SuiteFigures, metric: str, anchor: str, style: tuple[Scale, Limits, str]) -> StripRow:
    scale, limits, sure = style
    measure = figures.measures[metric]
    value = 0.0 if measure.value is None else measure.value
    limit, noise = limits.get((metric, figures.suite, None)), _value(figures, "noise_floor")
    unit = words.words_of(metric).unit
    label = words.spoken(measure, metric, sure)
    if limit is not None:
        label += f"; the limit is {words.limit_text(limit, unit)}"
    if noise is not None:
        label += f"; the noise floor is {words.percent(noise)}"
    is_drawn = limit is not None and scale.low <= limit <= scale.high
    return StripRow(
        anchor,
        TOTAL_NAME if figures.suite == "(all)" else figures.suite or "(no name)",
        label,
        words.number(value, unit, words.decimals_of(measure)),
        _change(figures),
        _place(scale, value),
        _place(scale, value if measure.low is None else measure.low),
        _place(scale, value if measure.high is None else measure.high),
        _place(scale, limit) if limit is not None and is_drawn else None,
        _place(scale, noise) if noise is not None else None,
        limit is not None and value > limit,
        figures.suite == "(all)",
    )


def _place(scale: Scale, value: float) -> str:
    inside = min(max(value, scale.low), scale.high)
    return f"{(inside - scale.low) / (scale.high - scale.low) * _WIDTH:.1f}"


def _change(figures: SuiteFigures) -> str:
    name = "accuracy_delta" if figures.kind == "binary" else "score_delta"
    measure = figures.measures.get(name)
    if measure is None or measure.value is None:
        return words.NOT_KNOWN
    return words.number(measure.value, words.words_of(name).unit, words.decimals_of(measure))

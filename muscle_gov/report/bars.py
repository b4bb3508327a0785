"""Pictures of figures as plain geometry: where an interval's ends lie, how wide a share is.

Templates only place what stands here. Every picture has a sentence that says the same, bars of one
column share one scale, and nothing is told by colour alone.

This is our own geometry and not a plotting library's, for measured reasons. Altair 6.3 with vl-convert
1.9 adds 100 MB to an installation and takes 0.9 CPU seconds to be imported and to draw a first small
chart, 0.05 for each further one, where a bar here takes 0.0001. Its layout follows the fonts that
the machine happens to have (452 or 450 units wide with and without the font asked for), so that equal
reports would not give equal bytes, and its marks carry colours of their own and generated class names,
where these carry the page's classes and follow its light, dark and printed colours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from muscle_gov.data import Measure, SuiteFigures
from muscle_gov.report import words

WIDTH = 120.0
_EDGE = 4.0


@dataclass(frozen=True)
class Bar:
    """An interval with its value, on a scale from 0 to WIDTH; positions are SVG numbers."""

    label: str
    value: str
    low: str
    high: str
    zero: str
    limit: str | None = None


@dataclass(frozen=True)
class Scale:
    """What a column of bars shares."""

    low: float
    high: float
    text: str

    def place(self, value: float) -> str:
        inside = min(max(value, self.low), self.high)
        share = (inside - self.low) / (self.high - self.low)
        return f"{_EDGE + share * (WIDTH - 2 * _EDGE):.1f}"


def scale_of(metric: str, measures: Iterable[Measure], limits: Iterable[float]) -> Scale | None:
    """From zero to the farthest end, rounded up; None without any value.

    A limit so far off that it would squeeze the bars is left out of the picture (not of the rules).
    """
    ends = [
        end
        for m in measures
        if m.value is not None
        for end in (m.value, m.low, m.high)
        if end is not None and math.isfinite(end)
    ]
    if not ends:
        return None
    reach = max(abs(end) for end in ends)
    ends += [limit for limit in limits if abs(limit) <= 3 * reach]
    low, high = 0.0 - round_up(-min(ends)), round_up(max(ends))
    if low == high:
        high = 1.0
    unit = words.words_of(metric).unit
    text = f"{words.limit_text(low, unit)} to {words.limit_text(high, unit)}"
    return Scale(low, high, text)


def round_up(value: float) -> float:
    """The next 1, 1.5, 2, 3, 4, 5, 6 or 8 times a power of ten; 0 for what is not above it."""
    if value <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(value))
    steps = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
    # what is a step but for the last bits is that step
    return float(f"{next(s for s in steps if s * power >= value * (1 - 1e-9)) * power:.3g}")


def bar(metric: str, measure: Measure, scale: Scale, limit: float | None, confidence: str) -> Bar | None:
    """None where there is nothing to draw."""
    value = measure.value
    if value is None or not math.isfinite(value):
        return None
    low = value if measure.low is None else measure.low
    high = value if measure.high is None else measure.high
    label = words.spoken(measure, metric, confidence)
    visible = limit is not None and scale.low <= limit <= scale.high
    if limit is not None:
        label += f"; the limit is {words.limit_text(limit, words.words_of(metric).unit)}"
    return Bar(
        label,
        scale.place(value),
        scale.place(low),
        scale.place(high),
        scale.place(0.0),
        scale.place(limit) if limit is not None and visible else None,
    )


# ---------------------------------------------------------------------------- one bar of all pairs


@dataclass(frozen=True)
class Segment:
    """One part of the bar of all pairs, and its line in the legend."""

    kind: str
    """A class name: `kept`, `broke`, `mended` or `wrong`."""
    title: str
    count: str
    share: str
    x: str
    width: str


@dataclass(frozen=True)
class Stack:
    """All pairs as one bar, cut by what became of them."""

    label: str
    segments: tuple[Segment, ...]


def stack(figures: SuiteFigures) -> Stack | None:
    """None where there are no pairs, or where the metrics that it is drawn from are not loaded."""
    wanted = ("nfr", "pfr", "accuracy_old") if figures.kind == "binary" else _GRADED
    shares = _values(figures.measures, wanted)
    if not shares or not figures.n_pairs:
        return None
    if figures.kind == "binary":
        broke, mended, right = shares
        parts = [
            ("kept", "right before and after", right - broke),
            ("broke", "broken: right before, wrong now", broke),
            ("mended", "mended: wrong before, right now", mended),
            ("wrong", "wrong before and after", 1 - right - mended),
        ]
    else:
        worse, better = shares
        parts = [
            ("broke", "worse than before", worse),
            ("kept", "same score", 1 - worse - better),
            ("mended", "better than before", better),
        ]
    segments, x = [], 0.0
    for kind, title, part in parts:
        share = max(0.0, part) if abs(part) > 1e-12 else 0.0
        n = share * figures.n_pairs
        segments.append(
            Segment(
                kind,
                title,
                _amount(n),
                words.percent(share),
                f"{x * 1000:.1f}",
                f"{share * 1000:.1f}",
            )
        )
        x += share
    told = "; ".join(f"{s.title} {s.count} ({s.share})" for s in segments)
    return Stack(f"{words.count(figures.n_pairs)} pairs: {told}", tuple(segments))


def _amount(n: float) -> str:
    """With one decimal where it is an average over repeats and no whole number, so that parts sum."""
    if abs(n - round(n)) < 1e-6:
        return words.count(round(n))
    return f"{'' if abs(10 * n - round(10 * n)) < 1e-6 else '≈ '}{n:,.1f}"


_GRADED = ("regression_rate", "gain_rate")


def _values(measures: Mapping[str, Measure], wanted: Iterable[str]) -> list[float]:
    """The values asked for; none at all if any is missing."""
    found = [measures[name].value for name in wanted if name in measures]
    values = [value for value in found if value is not None]
    return values if len(values) == len(tuple(wanted)) else []

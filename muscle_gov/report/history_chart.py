"""The course of a line as plain geometry: flips per update above, accuracy per model below.

Models stand on the borders between updates, so that an update is what lies between two models and the
level of a model is drawn once for each update that measured it; where it was measured on other suites
the line visibly jumps. The two panels have an axis each and share none. Templates only place what stands
here; there are two sizes, since a drawing that is only made smaller can't be read, and where updates
would be too narrow to be told apart only the newest are drawn, and it is said.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from muscle_gov.data import Measure
from muscle_gov.report import words
from muscle_gov.report.axes import Span, ends_of, ticks, x_range, y_range
from muscle_gov.report.labels import width_of
from muscle_gov.text import one_line

_FONT = 12.0
_NAME = 22


@dataclass(frozen=True)
class Point:
    """One update as the drawing needs it."""

    number: int
    """From 1 on."""
    style: str
    """Class name of its verdict."""
    rate: Measure | None
    old: Measure | None
    """Accuracy of the old model; None where there is none."""
    new: Measure | None
    limit: float | None
    noise: float | None
    is_looser: bool
    is_changed: bool
    """Whether the policy changed before it at all."""
    title: str
    is_late: bool = False
    """Whether it passed only when less was asked of it than before."""
    mended: tuple[tuple[float, str], ...] = ()
    """(rate, name) of each mended model that was judged beside it."""


@dataclass(frozen=True)
class Tick:
    at: str
    text: str


@dataclass(frozen=True)
class Disc:
    """The sign of a verdict."""

    style: str
    x: str
    y: str
    r: str
    title: str
    ring: str = ""
    """Radius of the ring about one that passed only when less was asked; else empty."""


@dataclass(frozen=True)
class Label:
    x: str
    anchor: str
    text: str


@dataclass(frozen=True)
class Panel:
    """One of the two drawings: flips, or levels."""

    top: str
    bottom: str
    ticks: tuple[Tick, ...]
    ranges: str
    """Path of the intervals; like all paths here empty if there is none."""
    dots: tuple[tuple[str, str], ...]
    """(x, y)"""
    lines: str
    """Path of the limits, or of the ways from the old model's level to the new one's."""


@dataclass(frozen=True)
class Course:
    """The whole drawing at one size; every position is an SVG number."""

    width: int
    height: int
    left: str
    right: str
    rates: Panel
    levels: Panel | None
    noise: str
    policies: tuple[tuple[str, str], ...]
    """(class name, path) of the marks of a changed policy."""
    discs: tuple[Disc, ...]
    mended: tuple[Disc, ...]
    numbers: tuple[Label, ...]
    numbers_y: str
    names: tuple[Label, ...]
    """Of the models; empty where they do not fit."""
    names_y: str
    n_left_out: int
    """Older updates that are not drawn."""
    off: tuple[float, ...]
    """Limits too far off to be drawn."""


@dataclass(frozen=True)
class Size:
    width: int
    left: float
    right: float
    most: int


WIDE = Size(760, 54, 12, 60)
NARROW = Size(340, 46, 8, 20)
_TOP, _RATES, _GAP, _LEVELS, _FOOT = 52.0, 170.0, 34.0, 84.0, 40.0


@dataclass(frozen=True)
class _Ground:
    """Where updates lie across, and what is drawn of them."""

    points: Sequence[Point]
    borders: Sequence[float]
    """Of the updates; models stand on them."""

    @property
    def slot(self) -> float:
        return self.borders[1] - self.borders[0]

    @property
    def cap(self) -> float:
        return min(3.0, self.slot / 4)

    def middle(self, i: int) -> float:
        return self.borders[i] + self.slot / 2


def draw(points: Sequence[Point], models: Sequence[str], level: str, size: Size) -> Course | None:
    """The course; None where no update has a rate. `models` are one more than `points`; `level` is the
    unit of the lower panel."""
    shown, names = points[-size.most :], models[-size.most - 1 :]
    rates = [p.rate for p in shown if p.rate is not None and p.rate.value is not None]
    if not rates:
        return None
    slot = (size.width - size.left - size.right) / len(shown)
    ground = _Ground(shown, [size.left + i * slot for i in range(len(shown) + 1)])
    noise = max((p.noise or 0.0 for p in shown), default=0.0)
    reach = x_range(rates, noise, [p.limit for p in shown if p.limit is not None])
    y = Span(*reach, _TOP + _RATES, _TOP)
    levels = _levels(ground, level, _TOP + _RATES + _GAP)
    end = float(levels.bottom) if levels else _TOP + _RATES
    off = {p.limit for p in shown if p.limit is not None and not y.low <= p.limit <= y.high}
    return Course(
        width=size.width,
        height=round(end + _FOOT),
        left=_text(size.left),
        right=_text(ground.borders[-1]),
        rates=_rates(ground, y),
        levels=levels,
        noise=_noise(ground, y),
        policies=_policies(ground),
        discs=_discs(ground),
        mended=_mended(ground, y),
        numbers=_numbers(ground),
        numbers_y=_text(end + 16),
        names=_names(names, ground.borders),
        names_y=_text(end + 33),
        n_left_out=len(points) - len(shown),
        off=tuple(sorted(off)),
    )


def _rates(ground: _Ground, y: Span) -> Panel:
    ranges, dots, limits = [], [], []
    for i, point in enumerate(ground.points):
        if point.limit is not None and y.low <= point.limit <= y.high:
            left, right = (_text(x) for x in ground.borders[i : i + 2])
            limits.append(f"M{left} {_text(y.at(point.limit))}H{right}")
        if point.rate is not None and point.rate.value is not None:
            ranges.append(_range(ground.middle(i), point.rate, y, ground.cap))
            dots.append((_text(ground.middle(i)), _text(y.at(point.rate.value))))
    top, bottom = _text(y.end), _text(y.start)
    ticks_ = _ticks(y, 5, "share")
    return Panel(top, bottom, ticks_, "".join(ranges), tuple(dots), "".join(limits))


def _levels(ground: _Ground, unit: str, top: float) -> Panel | None:
    both = [(i, m) for i, p in enumerate(ground.points) for m in (p.old, p.new)]
    found = [m for _, m in both if m is not None and m.value is not None]
    if not found:
        return None
    known: words.Unit = "share" if unit == "share" else "score"
    span = Span(*y_range(found, [], known), top + _LEVELS, top)
    lines, ranges, dots = [], [], []
    for i, point in enumerate(ground.points):
        ends = []
        for x, measure in zip(ground.borders[i : i + 2], (point.old, point.new), strict=True):
            if measure is not None and measure.value is not None:
                ends.append((_text(x), _text(span.at(measure.value))))
                ranges.append(_range(x, measure, span, ground.cap))
        dots += ends
        if len(ends) == 2:
            lines.append("M{} {}L{} {}".format(*ends[0], *ends[1]))
    # where two updates agree on the model between them it is drawn once
    unique = "".join(dict.fromkeys(ranges)), tuple(dict.fromkeys(dots))
    return Panel(_text(top), _text(top + _LEVELS), _ticks(span, 3, known), *unique, "".join(lines))


def _noise(ground: _Ground, y: Span) -> str:
    found, ground_y = [], _text(y.start)
    for i, point in enumerate(ground.points):
        if point.noise:
            left, right = (_text(x) for x in ground.borders[i : i + 2])
            found.append(f"M{left} {ground_y}V{_text(y.at(point.noise))}H{right}V{ground_y}Z")
    return "".join(found)


def _policies(ground: _Ground) -> tuple[tuple[str, str], ...]:
    """A line at the left border of the update that was judged by other rules than the one before it."""
    return tuple(
        (
            "looser" if point.is_looser else "altered",
            f"M{_text(ground.borders[i])} {_text(_TOP - 12)}V{_text(_TOP + _RATES)}",
        )
        for i, point in enumerate(ground.points)
        if point.is_changed
    )


def _mended(ground: _Ground, y: Span) -> tuple[Disc, ...]:
    """Beside their update, in the right half of its room; one beyond the scale stands at its edge."""
    found = []
    for i, point in enumerate(ground.points):
        step = min(16.0, ground.slot * 0.4 / max(1, len(point.mended)))
        for place, (rate, name) in enumerate(point.mended, 1):
            x, at = ground.middle(i) + place * step, y.at(min(rate, y.high))
            r = _text(min(4.0, step * 0.45))
            title = f"{one_line(name, _NAME)}, mended: {words.percent(rate)}"
            found.append(Disc("mitigation", _text(x), _text(at), r, title))
    return tuple(found)


def _discs(ground: _Ground) -> tuple[Disc, ...]:
    r, y = _text(min(9.0, ground.slot * 0.44)), _text(_TOP - 22)
    # where updates are narrow it lies upon the edge of the sign, so that it stays in their room
    ring = _text(min(12.5, ground.slot * 0.48))
    return tuple(
        Disc(point.style, _text(ground.middle(i)), y, r, point.title, ring if point.is_late else "")
        for i, point in enumerate(ground.points)
    )


def _text(value: float) -> str:
    return f"{value + 0.0:.1f}"


def _ticks(span: Span, most: int, unit: words.Unit) -> tuple[Tick, ...]:
    return tuple(Tick(_text(span.at(v)), text) for v, text in ticks(span.low, span.high, most, unit))


def _range(x: float, measure: Measure, y: Span, cap: float) -> str:
    ends = ends_of(measure)
    if measure.low is None or measure.high is None or len(ends) < 3:
        return ""
    low, high = _text(y.at(measure.low)), _text(y.at(measure.high))
    left, right = _text(x - cap), _text(x + cap)
    return f"M{_text(x)} {low}V{high}M{left} {low}H{right}M{left} {high}H{right}"


def _numbers(ground: _Ground) -> tuple[Label, ...]:
    """Every one, or every second, fifth, tenth, as they fit; as `update 3` where there is room."""
    last = str(ground.points[-1].number)
    before = "update " if width_of(f"update {last}", _FONT) + 12 <= ground.slot else ""
    widest = width_of(before + last, _FONT) + 6
    every = next(k for k in (1, 2, 5, 10, 20, 50, 100, 10_000_000) if k * ground.slot >= widest)
    return tuple(
        Label(_text(ground.middle(i)), "middle", f"{before}{p.number}")
        for i, p in enumerate(ground.points)
        if p.number % every == 0
    )


def _names(models: Sequence[str], borders: Sequence[float]) -> tuple[Label, ...]:
    """Each below the border where its model stands: all of them, or every second, third and so on that
    leads to the last one, as they fit; at least the first and the last, or none."""
    told = [one_line(name, _NAME) for name in models]
    last = len(told) - 1
    for every in range(1, last + 1):
        shown = [i for i in range(last + 1) if i % every == 0] if last % every == 0 else []
        found = [_name(i, last, told[i], borders[i]) for i in shown]
        if found and all(a[1] + 8 <= b[0] for a, b in itertools.pairwise(found)):
            return tuple(label for _, _, label in found)
    return ()


def _name(i: int, last: int, name: str, at: float) -> tuple[float, float, Label]:
    """(where it begins, where it ends, the name); the first and the last one hang inwards."""
    width = width_of(name, _FONT)
    anchor, before = "middle", 0.5
    if i in (0, last):
        anchor, before = ("start", 0.0) if i == 0 else ("end", 1.0)
    return at - before * width, at + (1 - before) * width, Label(_text(at), anchor, name)


# ------------------------------------------------------------------------------------ one small suite


@dataclass(frozen=True)
class Small:
    """Flips of one suite over the updates."""

    ranges: str
    limits: str
    kept: str
    """Path of the dots of updates whose rules held there, or that had none."""
    broke: str
    """... of crosses where one was surely broken."""
    open: str
    """... of squares where it was not decided."""


SMALL_WIDTH, SMALL_HEIGHT, SMALL_LEFT = 180, 78, 34.0
_SMALL_TOP, _SMALL_BOTTOM = 6.0, 70.0


def small_scale(rates: Iterable[Measure], limits: Iterable[float]) -> tuple[Span, tuple[Tick, ...]]:
    """What all suites share."""
    low, high = x_range(rates, 0.0, limits)
    span = Span(low, high, _SMALL_BOTTOM, _SMALL_TOP)
    return span, _ticks(span, 3, "share")


def draw_small(
    rates: Sequence[Measure | None], limits: Sequence[float | None], styles: Sequence[str], y: Span
) -> Small:
    """One value, or None, for each update that is drawn."""
    slot = (SMALL_WIDTH - SMALL_LEFT - 4) / max(1, len(rates))
    found: dict[str, list[str]] = {"ranges": [], "limits": [], "kept": [], "broke": [], "open": []}
    for i, (rate, limit, style) in enumerate(zip(rates, limits, styles, strict=True)):
        left = SMALL_LEFT + i * slot
        if limit is not None and y.low <= limit <= y.high:
            found["limits"].append(f"M{_text(left)} {_text(y.at(limit))}h{_text(slot)}")
        if rate is None or rate.value is None:
            continue
        x, at = left + slot / 2, y.at(rate.value)
        found["ranges"].append(_range(x, rate, y, 0.0).partition("M")[2].partition("M")[0])
        place = f"M{_text(x)} {_text(at)}"
        if style == "fail":
            found["broke"].append(f"{place}m-3-3l6 6m0-6l-6 6")
        elif style == "pass" or style == "none":
            found["kept"].append(f"{place}h0")
        else:
            found["open"].append(f"{place}m-2.5-2.5h5v5h-5z")
    found["ranges"] = [f"M{one}" for one in found["ranges"] if one]
    return Small(**{name: "".join(paths) for name, paths in found.items()})

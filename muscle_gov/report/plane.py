"""The plane of candidates as plain geometry: how often right (up) against how often newly wrong (left).

Templates only place what stands here. The flip axis begins at zero, since the share of flips is a
size; the other one shows only the range that the candidates take, and says so. It is never narrower
than the intervals, so that a hair's breadth does not look like a lead. There are two pictures, for
wide and for narrow screens: a drawing that is only made smaller can't be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from muscle_gov.data import Measure
from muscle_gov.report import words
from muscle_gov.report.axes import Span, ends_of, ticks, x_range, y_range
from muscle_gov.report.labels import Box, Ground, Wish, is_near, line_to, place, width_of
from muscle_gov.text import one_line

FONT = 12.5
_SMALL = 11.0
_LINE = 15.0
_NAME = 26
_NAMED, _LABELLED = 20, 60
"""Most candidates that are tried by name, and most that get a label at all; more is no picture."""


@dataclass(frozen=True)
class Spot:
    """One candidate on the plane."""

    number: int
    name: str
    shape: str
    """Class name of its mark: `update`, `mitigation`, `control` or `double`."""
    x: Measure
    y: Measure
    told: str
    """Its figures in words."""
    note: str = ""
    """A few words below its name."""
    is_subject: bool = False
    is_meant: bool = False
    """Meant to ship and fit to be compared, and so part of the front's contest."""


@dataclass(frozen=True)
class Line:
    """A value of one axis that is drawn across the plane."""

    kind: str
    """`limit`, or `old` for where the old model stands."""
    axis: str
    """`x` or `y`: whose value it is."""
    value: float
    text: str


@dataclass(frozen=True)
class Axes:
    """What the plane's axes say and where they begin and end."""

    x_title: str
    y_title: str
    x_unit: words.Unit
    y_unit: words.Unit
    is_turned: bool = False
    """For scores that are better when lower: they lie higher."""


@dataclass(frozen=True)
class Tick:
    at: str
    text: str


@dataclass(frozen=True)
class Mark:
    number: int
    shape: str
    x: str
    y: str
    left: str
    right: str
    top: str
    bottom: str
    title: str
    is_subject: bool


@dataclass(frozen=True)
class Label:
    number: int
    x: str
    y: str
    anchor: str
    text: str
    note: str
    note_y: str
    leader: str
    """Path of the line to its mark; empty if it stands beside it."""
    is_subject: bool
    box: Box
    """The room that was kept for it."""


@dataclass(frozen=True)
class Stroke:
    kind: str
    path: str
    text: str
    x: str
    y: str
    anchor: str


@dataclass(frozen=True)
class Picture:
    """One size of the plane; every position is an SVG number."""

    width: int
    height: int
    left: str
    right: str
    top: str
    bottom: str
    middle: str
    x_title: str
    y_title: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    band: str
    """Width of the noise floor's band; empty if there is none."""
    strokes: tuple[Stroke, ...]
    front: str
    marks: tuple[Mark, ...]
    labels: tuple[Label, ...]
    is_numbered: bool
    """The labels are the candidates' numbers, since their names would not fit."""
    unlabelled: tuple[int, ...]


@dataclass(frozen=True)
class Size:
    width: int
    height: int
    left: float
    right: float
    top: float
    bottom: float
    ticks: int


WIDE = Size(760, 460, 58, 14, 62, 50, 7)
NARROW = Size(340, 380, 50, 8, 62, 50, 4)


# ---------------------------------------------------------------------------------------- the front


def front_of(spots: Sequence[Spot], is_turned: bool = False) -> list[Spot]:
    """Those meant to ship that no other beats in both figures (equal in one, better in the other).

    Two with the very same figures both stand in it. From the fewest flips to the most. By the values
    alone, whatever their intervals.
    """
    able = [s for s in spots if s.is_meant and s.x.value is not None and s.y.value is not None]
    places = {s.number: (_value(s.x), -_value(s.y) if is_turned else _value(s.y)) for s in able}

    def beats(a: Spot, b: Spot) -> bool:
        (flips, good), (more, less) = places[a.number], places[b.number]
        return flips <= more and good >= less and (flips, good) != (more, less)

    found = [one for one in able if not any(beats(other, one) for other in able)]
    return sorted(found, key=lambda s: (places[s.number], s.number))


def _value(measure: Measure) -> float:
    return measure.value if measure.value is not None else 0.0


# -------------------------------------------------------------------------------------- the picture


def draw(
    spots: Sequence[Spot], axes: Axes, noise: float | None, lines: Sequence[Line], size: Size
) -> Picture:
    """The plane at one size. `spots` have both values; at least one of them is given."""
    limits = [[line.value for line in lines if line.axis == axis] for axis in "xy"]
    right, bottom = size.width - size.right, size.height - size.bottom
    x = Span(*x_range([s.x for s in spots], noise or 0.0, limits[0]), size.left, right)
    low, high = y_range([s.y for s in spots], limits[1], axes.y_unit)
    y = Span(low, high, size.top, bottom) if axes.is_turned else Span(low, high, bottom, size.top)
    ground = _ground(spots, x, y, noise)
    strokes, ground = _strokes(lines, x, y, ground)
    labels, is_numbered = _labels(spots, ground, x, y)
    across, up = ticks(x.low, x.high, size.ticks, axes.x_unit), ticks(low, high, 6, axes.y_unit)
    shown = {label.number for label in labels}
    return Picture(
        width=size.width,
        height=size.height,
        left=_text(size.left),
        right=_text(right),
        top=_text(size.top),
        bottom=_text(bottom),
        middle=_text((size.left + right) / 2),
        x_title=axes.x_title,
        y_title=axes.y_title,
        x_ticks=tuple(Tick(_text(x.at(v)), text) for v, text in across),
        y_ticks=tuple(Tick(_text(y.at(v)), text) for v, text in up),
        band=_text(x.at(noise) - x.start) if noise else "",
        strokes=strokes,
        front=_front(spots, axes, x, y),
        marks=tuple(_mark(s, x, y) for s in spots),
        labels=labels,
        is_numbered=is_numbered,
        unlabelled=tuple(s.number for s in spots if s.number not in shown),
    )


def _text(value: float) -> str:
    return f"{value + 0.0:.1f}"


def _mark(spot: Spot, x: Span, y: Span) -> Mark:
    across, up = ends_of(spot.x), ends_of(spot.y)
    heights = sorted((y.at(min(up)), y.at(max(up))))
    return Mark(
        spot.number,
        spot.shape,
        _text(x.at(_value(spot.x))),
        _text(y.at(_value(spot.y))),
        _text(x.at(min(across))),
        _text(x.at(max(across))),
        _text(heights[0]),
        _text(heights[1]),
        f"{spot.name}: {spot.told}",
        spot.is_subject,
    )


def _front(spots: Sequence[Spot], axes: Axes, x: Span, y: Span) -> str:
    """Steps, not slopes: between two models there is none that one could ship."""
    found = front_of(spots, axes.is_turned)
    places = list(dict.fromkeys((_text(x.at(_value(s.x))), _text(y.at(_value(s.y)))) for s in found))
    if len(places) < 2:
        return ""
    return f"M{places[0][0]} {places[0][1]}" + "".join(f"H{across}V{up}" for across, up in places[1:])


def _ground(spots: Sequence[Spot], x: Span, y: Span, noise: float | None) -> Ground:
    """Marks to keep clear, and crosshairs for words to stay off where they can."""
    marks, lines = [], []
    for spot in spots:
        across, up = x.at(_value(spot.x)), y.at(_value(spot.y))
        reach = _reach(spot)
        marks.append(Box(across - reach, up - reach, across + reach, up + reach))
        ends, heights = ends_of(spot.x), sorted(y.at(v) for v in ends_of(spot.y))
        lines.append(Box(x.at(min(ends)), up, x.at(max(ends)), up))
        lines.append(Box(across, heights[0], across, heights[-1]))
    low, high = sorted((y.start, y.end))
    if noise:
        lines.append(Box(x.at(noise), low, x.at(noise), high))
    return Ground(Box(x.start + 2, low + 1, x.end - 1, high - 1), tuple(marks), tuple(lines))


def _reach(spot: Spot) -> float:
    return 10.0 if spot.is_subject else 7.0


# ----------------------------------------------------------------------------------- lines and words


def _strokes(
    lines: Sequence[Line], x: Span, y: Span, ground: Ground
) -> tuple[tuple[Stroke, ...], Ground]:
    """The lines across the plane with their words, and the ground with both on it."""
    strokes, boxes, words_at = [], [], []
    top, bottom = sorted((y.start, y.end))
    for line in lines:
        span = x if line.axis == "x" else y
        if not span.low <= line.value <= span.high:
            continue
        at, width = span.at(line.value), width_of(line.text, FONT)
        if line.axis == "x":
            left = min(max(at - width / 2, 0.0), x.end - width)
            words_at.append(Box(left, top - 21, left + width, top - 6))
            boxes.append(Box(at, top, at, bottom))
            path = f"M{_text(at)} {_text(top - 4)}V{_text(bottom)}"
        else:
            words_at.append(_beside(at, width, x, ground, words_at))
            boxes.append(Box(x.start, at, x.end, at))
            path = f"M{_text(x.start)} {_text(at)}H{_text(x.end)}"
        room, anchor = words_at[-1], "middle" if line.axis == "x" else "end"
        text_x = room.right if anchor == "end" else (room.left + room.right) / 2
        text_y = _text(room.bottom - 3.5)
        strokes.append(Stroke(line.kind, path, line.text, _text(text_x), text_y, anchor))
    more = Ground(ground.bounds, (*ground.marks, *words_at), (*ground.lines, *boxes))
    return tuple(strokes), more


def _beside(at: float, width: float, x: Span, ground: Ground, taken: Sequence[Box]) -> Box:
    """Above or below a level line, at the right end if there is room, and over no mark if it can."""
    tries = []
    for step in range(9):
        left = x.end - 4 - width - step / 8 * max(0.0, x.end - x.start - width - 8)
        tries += [Box(left, at - 17, left + width, at - 2), Box(left, at + 2, left + width, at + 17)]

    def cost(box: Box) -> int:
        over = sum(box.meets(other) for other in (*ground.marks, *taken)) + (
            not ground.bounds.holds(box)
        )
        return 10 * over + sum(box.meets(line.grown(0.5)) for line in ground.lines)

    return min(tries, key=cost)


def _labels(spots: Sequence[Spot], ground: Ground, x: Span, y: Span) -> tuple[tuple[Label, ...], bool]:
    """Names beside their marks; numbers where not all names find a place."""
    is_crowd, spots = len(spots) > _NAMED, spots[:_LABELLED]
    for is_numbered in (is_crowd, True):
        texts = [_words(spot, is_numbered) for spot in spots]
        wishes = [_wish(spot, text, x, y) for spot, text in zip(spots, texts, strict=True)]
        boxes = place(wishes, ground, may_cross=is_numbered)
        if is_numbered or all(map(is_near, wishes, boxes)):
            break
    found = [
        _label(spot, text, wish, box)
        for spot, text, wish, box in zip(spots, texts, wishes, boxes, strict=True)
        if box is not None
    ]
    return tuple(found), is_numbered


def _words(spot: Spot, is_numbered: bool) -> tuple[str, ...]:
    if is_numbered:
        return (str(spot.number),)
    name = one_line(spot.name, _NAME) or "(no name)"
    return (name, spot.note) if spot.note else (name,)


def _wish(spot: Spot, text: Sequence[str], x: Span, y: Span) -> Wish:
    # the name of what the report is about is bold, and so wider
    widths = [width_of(text[0], FONT * (1.07 if spot.is_subject else 1))]
    widths += [width_of(note, _SMALL) for note in text[1:]]
    across, up = x.at(_value(spot.x)), y.at(_value(spot.y))
    return Wish(across, up, _reach(spot), max(widths), _LINE + (len(text) - 1) * 13.0)


def _label(spot: Spot, text: Sequence[str], wish: Wish, box: Box) -> Label:
    line = line_to(wish, box)
    # words start where their mark is, so that none floats away from it in a font that is narrower
    anchor, at = "start", box.left
    if box.right <= wish.x:
        anchor, at = "end", box.right
    elif box.left < wish.x:
        anchor, at = "middle", (box.left + box.right) / 2
    return Label(
        spot.number,
        _text(at),
        _text(box.top + 11.5),
        anchor,
        text[0],
        text[1] if len(text) > 1 else "",
        _text(box.top + 24.5),
        "M{} {}L{} {}".format(*map(_text, line)) if line else "",
        spot.is_subject,
        box,
    )

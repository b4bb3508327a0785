"""What the plane of candidates shows of a suite: marks, limits, noise floor, and all of it in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from muscle_gov.data import Candidate, Report, Status
from muscle_gov.report import words
from muscle_gov.report.candidates import (
    LEVEL,
    LEVEL_TITLES,
    RATE,
    Place,
    is_turned,
    measure_of,
    noise_of,
    pairs_of,
)
from muscle_gov.report.figures import confidence_text, limits_of
from muscle_gov.report.plane import NARROW, WIDE, Axes, Line, Picture, Spot, draw, front_of
from muscle_gov.text import one_line

_OLD = {"binary": "accuracy_old", "graded": "score_old"}
_DELTA = {"binary": "accuracy_delta", "graded": "score_delta"}
_NAME = 60


@dataclass(frozen=True)
class Plane:
    """One drawing at two sizes, and the same in words."""

    label: str
    wide: Picture
    narrow: Picture
    front_told: str
    """Which of those that are meant to ship stand on the front; empty where there is no choice."""
    has_limits: bool
    has_front: bool
    has_subject: bool
    """Whether a limit, a front, the ring of what the report is about is drawn, and so is in the key."""


def plane_of(report: Report, place: Place) -> tuple[Plane | None, tuple[str, ...]]:
    """The drawing, and what could not be drawn in it; None where no candidate has both figures."""
    spots, turned = _spots(report, place), is_turned(report, place)
    if not spots:
        return None, ()
    unit: words.Unit = "share" if place.kind == "binary" else "score"
    axes = Axes(*_axis_titles(place, turned), "share", unit, turned)
    lines = _lines(report, place, turned)
    floor = [m.value for _, m in noise_of(report, place) if m.value is not None]
    noise = sum(floor) / len(floor) if floor else None
    wide, narrow = (draw(spots, axes, noise, lines, size) for size in (WIDE, NARROW))
    drawn = {stroke.text for stroke in wide.strokes}
    off = [line.text for line in lines if line.text not in drawn]
    notes = [f"Too far off to be drawn: {', '.join(off)}."] if off else []
    if wide.unlabelled or narrow.unlabelled:
        left = dict.fromkeys((*wide.unlabelled, *narrow.unlabelled))
        notes.append(f"Without a label in the picture, for want of room: {', '.join(map(str, left))}.")
    label = _in_words(place, spots, lines, floor, turned)
    has_limits = any(stroke.kind == "limit" for stroke in wide.strokes)
    front_told = _front_told(place, spots, turned)
    has_subject = any(mark.is_subject for mark in wide.marks)
    plane = Plane(label, wide, narrow, front_told, has_limits, bool(wide.front), has_subject)
    return plane, tuple(notes)


def _front_told(place: Place, spots: Sequence[Spot], turned: bool) -> str:
    front = [one_line(s.name, _NAME) for s in front_of(spots, turned)]
    if not front or sum(s.is_meant for s in spots) < 2:
        return ""
    good = "highest accuracy" if place.kind == "binary" else "best mean score"
    bad = "fewest flips" if place.kind == "binary" else "fewest losses"
    if len(front) == 1:
        return f"Controls aside, {front[0]} has both the {bad} and the {good}, by the values alone."
    told = f"{', '.join(front[:-1])} and {front[-1]}"
    return f"Controls aside, none beats {told} in both figures, by the values alone."


def shape_of(one: Candidate) -> str:
    """Class name of its mark: its role, or `double` for an ensemble among the controls."""
    if one.role in ("update", "mitigation"):
        return one.role
    return "double" if one.cost > 1 else "control"


def _spots(report: Report, place: Place) -> list[Spot]:
    found = []
    for number, one in enumerate(report.candidates, 1):
        figures, sure = place.figures[number - 1], confidence_text(one.comparison)
        x, y = measure_of(figures, RATE[place.kind]), measure_of(figures, LEVEL[place.kind])
        if x is None or y is None:
            continue
        told = f"{words.spoken(x, RATE[place.kind], sure)}; {words.spoken(y, LEVEL[place.kind], sure)}"
        note = ""
        if shape_of(one) == "double":
            note = f"{'two' if one.cost == 2 else f'{one.cost:g}'} models for one answer"
        spot = Spot(number, one.name, shape_of(one), x, y, told, note)
        is_subject = one.comparison.id == report.comparison.id
        is_meant = one.role != "control" and one.verdict.status is not Status.INCOMPARABLE
        found.append(replace(spot, is_subject=is_subject, is_meant=is_meant))
    return found


def _axis_titles(place: Place, turned: bool) -> tuple[str, str]:
    if place.kind == "graded":
        return (
            "← Regression rate: score got worse",
            f"↑ Mean score{', lower is better' if turned else ''}",
        )
    return "← NFR: was right, is wrong now", "↑ Accuracy"


def _lines(report: Report, place: Place, turned: bool) -> list[Line]:
    """The gate's limits on the two figures, and where the old model stands."""
    limits, kind = limits_of(report.verdict), place.kind
    unit: words.Unit = "share" if kind == "binary" else "score"
    found = []
    rate = limits.get((RATE[kind], place.suite, None))
    if rate is not None:
        title = words.words_of(RATE[kind]).title
        found.append(Line("limit", "x", rate, f"limit: {title} {words.limit_text(rate, 'share')}"))
    level = limits.get((LEVEL[kind], place.suite, None))
    if level is not None:
        name = LEVEL_TITLES[kind].lower()
        found.append(Line("limit", "y", level, f"limit: {name} {words.limit_text(level, unit)}"))
    old = _old_level(report, place)
    if old is None:
        return found
    delta = limits.get((_DELTA[kind], place.suite, None))
    if delta is not None:
        at = old - delta if turned else old + delta
        short = words.words_of(_DELTA[kind])
        found.append(
            Line("limit", "y", at, f"limit: {short.title} {words.limit_text(delta, short.unit)}")
        )
    return [*found, Line("old", "y", old, "old model")]


def _old_level(report: Report, place: Place) -> float | None:
    """Of the candidate that the report is about, else of the first that has it."""
    pairs = zip(report.candidates, place.figures, strict=True)
    ranked = sorted(pairs, key=lambda pair: pair[0].comparison.id != report.comparison.id)
    found = (measure_of(figures, _OLD[place.kind]) for _, figures in ranked)
    return next((m.value for m in found if m is not None), None)


def _in_words(
    place: Place, spots: Sequence[Spot], lines: Sequence[Line], noise: Iterable[float], turned: bool
) -> str:
    """The picture for those who cannot see it: every figure that is drawn."""
    level, rate = LEVEL_TITLES[place.kind], words.words_of(RATE[place.kind]).title
    parts = [f"{place.name}, {level.lower()} against {rate}, {pairs_of(place)}"]
    parts += [f"{s.number} {one_line(s.name, _NAME)} ({s.shape}): {s.told}" for s in spots]
    front = front_of(spots, turned)
    if front:
        parts.append(f"front: {', '.join(one_line(s.name, _NAME) for s in front)}")
    parts += [f"a mere re-fit flips {words.percent(value)}" for value in noise]
    parts += [line.text for line in lines if line.kind == "limit"]
    return ". ".join(parts) + "."

"""Candidates as the page shows them: one plane and one table for each suite, worst news included.

Every number stands in the table too, so that the picture may be left out by whoever cannot see it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from muscle_gov.data import Candidate, Report, Status, SuiteFigures
from muscle_gov.report import words
from muscle_gov.report.candidates import (
    LEVEL,
    RATE,
    Place,
    measure_of,
    noise_of,
    places_of,
    relative,
    sentence,
    several_tried,
)
from muscle_gov.report.figures import Cell, confidence_text, limits_of
from muscle_gov.report.plane import NARROW, WIDE, Axes, Line, Picture, Spot, draw, front_of
from muscle_gov.report.verdict import STATUSES, StatusWords
from muscle_gov.text import one_line

ROLES = {"update": "update", "mitigation": "mended update", "control": "control"}
_OLD = {"binary": "accuracy_old", "graded": "score_old"}
_DELTA = {"binary": "accuracy_delta", "graded": "score_delta"}
_FURTHER = {
    "binary": ("pfr", "nfr_mc", "relative_nfr", "nfi"),
    "graded": ("gain_rate", "regression_magnitude", "gain_magnitude"),
}
_LEVEL_TITLES = {"binary": "Accuracy", "graded": "Score"}
_NAME = 60


@dataclass(frozen=True)
class Known:
    """One candidate, whatever the suite."""

    number: int
    name: str
    role: str
    """Class name of its mark: `update`, `mitigation`, `control`, or `double` for an ensemble."""
    told: str
    """Its role in words."""
    about: str
    status: StatusWords
    cost: str
    is_subject: bool


@dataclass(frozen=True)
class Change:
    """Against the update: in the figure's unit, and in percent where that can be said."""

    metric: str
    text: str
    exact: str | None
    share: str = ""
    share_exact: str | None = None


@dataclass(frozen=True)
class Row:
    known: Known
    level: Cell
    level_change: Change
    rate: Cell
    rate_change: Change
    further: tuple[Cell, ...]


@dataclass(frozen=True)
class Plane:
    """One drawing at two sizes, and the same in words."""

    label: str
    wide: Picture
    narrow: Picture
    front_told: str
    """Which of those that may ship stand on the front."""
    has_limits: bool


@dataclass(frozen=True)
class Block:
    """All candidates on one suite."""

    suite: str
    name: str
    kind: str
    sentence: str
    gist: str
    """The rates of update and mended models in a few words, for when the rest is folded away."""
    plane: Plane | None
    caption: str
    level_title: str
    rate_title: str
    further: tuple[tuple[str, str], ...]
    """(title, meaning) of the further columns."""
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class CandidatesView:
    known: tuple[Known, ...]
    blocks: tuple[Block, ...]
    tried: str
    """What it means that several were tried on the same answers; empty if one or none was."""
    has_front: bool
    has_limits: bool
    has_numbers: bool
    """Whether some picture shows a front, a limit, numbers for names, and so its legend says what."""


def view_candidates(report: Report) -> CandidatesView | None:
    """None where the update was not mended, and so nothing stands beside it."""
    if not report.candidates:
        return None
    known = tuple(_known(report, one, n) for n, one in enumerate(report.candidates, 1))
    blocks = tuple(_block(report, place, known) for place in places_of(report))
    planes = [block.plane for block in blocks if block.plane is not None]
    return CandidatesView(
        known,
        blocks,
        several_tried(report),
        has_front=any(p.wide.front for p in planes),
        has_limits=any(p.has_limits for p in planes),
        has_numbers=any(p.wide.is_numbered or p.narrow.is_numbered for p in planes),
    )


def _known(report: Report, one: Candidate, number: int) -> Known:
    told = ROLES.get(one.role, one.role)
    if one.of is not None:
        told = f"{told} of {one_line(one.of, _NAME)}"
    is_double = one.role == "control" and one.cost > 1
    return Known(
        number=number,
        name=one.name or "(no name)",
        role="double" if is_double else one.role if one.role in ROLES else "control",
        told=told,
        about=one.about,
        status=STATUSES[one.verdict.status],
        cost=f"{one.cost:g}",
        is_subject=one.comparison.id == report.comparison.id,
    )


# ------------------------------------------------------------------------------------------- one suite


def _block(report: Report, place: Place, known: Sequence[Known]) -> Block:
    base = next(
        (f for c, f in zip(report.candidates, place.figures, strict=True) if c.role == "update"), None
    )
    further = [m for m in _FURTHER[place.kind] if any(measure_of(f, m) for f in place.figures)]
    confidence = confidence_text(report.comparison)
    turned = _is_turned(report, place)
    rate = words.words_of(RATE[place.kind]).title
    plane, off = _plane(report, place, known, turned)
    return Block(
        suite=place.suite,
        name=place.name,
        kind=place.kind,
        sentence=sentence(report, place),
        gist=_gist(report, place),
        plane=plane,
        caption=f"Candidates against the old model, {_pairs_of(place)}, with {confidence} intervals",
        level_title=_LEVEL_TITLES[place.kind] + (" (lower is better)" if turned else ""),
        rate_title=rate,
        further=tuple((words.words_of(m).title, words.words_of(m).meaning) for m in further),
        rows=tuple(
            _row(place.kind, k, f, base, further) for k, f in zip(known, place.figures, strict=True)
        ),
        notes=(*off, *_notes(report, place, known)),
    )


def _gist(report: Report, place: Place) -> str:
    told = []
    for one, figures in zip(report.candidates, place.figures, strict=True):
        found = measure_of(figures, RATE[place.kind])
        if one.role != "control" and found is not None and found.value is not None:
            told.append(f"{one_line(one.name, _NAME)} {words.percent(found.value)}")
    title = words.words_of(RATE[place.kind]).title
    return f"{title}: {words.listed(told, 4)}" if told else ""


def _row(
    kind: str, known: Known, figures: SuiteFigures | None, base: SuiteFigures | None, more: Sequence[str]
) -> Row:
    level, rate = LEVEL[kind], RATE[kind]
    is_base = known.role == "update"
    return Row(
        known,
        _cell(figures, level),
        _change(figures, base, level, is_base),
        _cell(figures, rate),
        _change(figures, base, rate, is_base),
        tuple(_cell(figures, metric) for metric in more),
    )


def _cell(figures: SuiteFigures | None, metric: str) -> Cell:
    found = measure_of(figures, metric)
    if found is None or found.value is None:
        listed = None if figures is None else figures.measures.get(metric)
        why = listed.method if listed is not None else "not measured here"
        return Cell(metric, words.NOT_KNOWN, None, "", None, None, why)
    unit = words.words_of(metric).unit
    return Cell(
        metric,
        words.number(found.value, unit, words.decimals_of(found)),
        repr(found.value),
        words.interval(found, unit),
        None if found.low is None else repr(found.low),
        None if found.high is None else repr(found.high),
        f"{found.method}, n = {words.count(found.n)}" if found.method else "",
    )


def _change(
    figures: SuiteFigures | None, base: SuiteFigures | None, metric: str, is_base: bool
) -> Change:
    now, before = measure_of(figures, metric), measure_of(base, metric)
    if is_base or now is None or before is None or now.value is None or before.value is None:
        return Change(f"{metric}_change", words.NOT_KNOWN, None)
    by = now.value - before.value
    unit: words.Unit = "points" if words.words_of(metric).unit == "share" else "signed score"
    text = words.number(by, unit, words.decimals_of(now))
    if metric not in RATE.values() or before.value == 0:
        return Change(f"{metric}_change", text, repr(by))
    share = by / before.value
    return Change(f"{metric}_change", text, repr(by), relative(share), repr(share))


def _pairs_of(place: Place) -> str:
    sizes = sorted({f.n_pairs for f in place.figures if f is not None})
    if not sizes:
        return "no pairs"
    return f"n = {' to '.join(map(words.count, dict.fromkeys((sizes[0], sizes[-1]))))} pairs"


def _notes(report: Report, place: Place, known: Sequence[Known]) -> list[str]:
    notes = []
    absent = [k.name for k, f in zip(known, place.figures, strict=True) if f is None]
    if absent:
        notes.append(f"Not measured here: {words.listed(absent, 10)}.")
    if len({f.n_pairs for f in place.figures if f is not None}) > 1:
        notes.append("The candidates rest on different numbers of pairs, so compare them with care.")
    for one, measure in noise_of(report, place):
        reach = words.interval(measure, "share")
        sure = f" ({confidence_text(one.comparison)} interval {reach})" if reach else ""
        notes.append(
            f"Noise floor: {words.percent(measure.value or 0.0)}{sure} of {words.count(measure.n)} "
            f"answers went from right to wrong between the update and {one_line(one.name, _NAME)}, the "
            "same training again."
        )
    return notes


# ------------------------------------------------------------------------------------------- the plane


def _is_turned(report: Report, place: Place) -> bool:
    """Whether a lower score is the better one, by what the log says of itself."""
    if place.kind == "binary":
        return False
    header = report.comparison.headers.get(place.suite)
    return header is not None and header[0].get("higher_is_better") is False


def _plane(
    report: Report, place: Place, known: Sequence[Known], turned: bool
) -> tuple[Plane | None, tuple[str, ...]]:
    """The drawing, and what could not be drawn in it."""
    spots = _spots(report, place, known)
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
    return Plane(label, wide, narrow, _front_told(place, spots, turned), has_limits), tuple(notes)


def _front_told(place: Place, spots: Sequence[Spot], turned: bool) -> str:
    front = [one_line(s.name, _NAME) for s in front_of(spots, turned)]
    if not front or sum(s.may_ship for s in spots) < 2:
        return ""
    good = "highest accuracy" if place.kind == "binary" else "best mean score"
    bad = "fewest flips" if place.kind == "binary" else "fewest losses"
    if len(front) == 1:
        return f"Of those that may ship, {front[0]} has both the {bad} and the {good}."
    told = f"{', '.join(front[:-1])} and {front[-1]}"
    return f"Of those that may ship, none beats {told} in both figures; which of them is a choice."


def _spots(report: Report, place: Place, known: Sequence[Known]) -> list[Spot]:
    found = []
    for one, k, figures in zip(report.candidates, known, place.figures, strict=True):
        x, y = measure_of(figures, RATE[place.kind]), measure_of(figures, LEVEL[place.kind])
        if x is None or y is None:
            continue
        sure = confidence_text(one.comparison)
        told = "; ".join(
            words.spoken(measure, metric, sure)
            for measure, metric in ((x, RATE[place.kind]), (y, LEVEL[place.kind]))
        )
        may_ship = one.role != "control" and one.verdict.status is not Status.INCOMPARABLE
        note = ""
        if k.role == "double":
            note = f"{'two' if one.cost == 2 else k.cost} models for one answer"
        found.append(Spot(k.number, k.name, k.role, x, y, told, note, k.is_subject, may_ship))
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
        name = _LEVEL_TITLES[kind].lower()
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
    level, rate = _LEVEL_TITLES[place.kind], words.words_of(RATE[place.kind]).title
    parts = [f"{place.name}, {level.lower()} against {rate}, {_pairs_of(place)}"]
    parts += [f"{s.number} {one_line(s.name, _NAME)} ({s.shape}): {s.told}" for s in spots]
    front = front_of(spots, turned)
    if front:
        parts.append(f"front: {', '.join(one_line(s.name, _NAME) for s in front)}")
    parts += [f"a mere re-fit flips {words.percent(value)}" for value in noise]
    parts += [line.text for line in lines if line.kind == "limit"]
    return ". ".join(parts) + "."

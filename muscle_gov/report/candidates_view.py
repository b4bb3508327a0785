"""Candidates as the page shows them: one plane and one table for each suite, worst news included.

Every number stands in the table too, so that the picture may be left out by whoever cannot see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from muscle_gov.data import Candidate, Report, SuiteFigures
from muscle_gov.report import words
from muscle_gov.report.candidates import (
    LEVEL,
    LEVEL_TITLES,
    RATE,
    Place,
    change_of,
    is_turned,
    measure_of,
    noise_of,
    pairs_of,
    places_of,
    relative,
    sentence,
    several_tried,
)
from muscle_gov.report.candidates_plane import Plane, plane_of, shape_of
from muscle_gov.report.figures import Cell, confidence_text
from muscle_gov.report.status import STATUSES, StatusWords
from muscle_gov.text import one_line

ROLES = {"update": "update", "mitigation": "mended update", "control": "control"}
_FURTHER = {
    "binary": ("pfr", "nfr_mc", "relative_nfr", "nfi"),
    "graded": ("gain_rate", "regression_magnitude", "gain_magnitude"),
}
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


def view_candidates(report: Report) -> CandidatesView | None:
    """None where the update was not mended, and so nothing stands beside it."""
    if not report.candidates:
        return None
    known = tuple(_known(report, one, n) for n, one in enumerate(report.candidates, 1))
    blocks = tuple(_block(report, place, known) for place in places_of(report))
    return CandidatesView(known, blocks, several_tried(report))


def _known(report: Report, one: Candidate, number: int) -> Known:
    told = ROLES.get(one.role, one.role)
    if one.of is not None:
        told = f"{told} of {one_line(one.of, _NAME)}"
    return Known(
        number=number,
        name=one.name or "(no name)",
        role=shape_of(one),
        told=told,
        about=one.about,
        status=STATUSES[one.verdict.status],
        cost=f"{one.cost:g}",
        is_subject=one.comparison.id == report.comparison.id,
    )


# ------------------------------------------------------------------------------------------- one suite


def _block(report: Report, place: Place, known: Sequence[Known]) -> Block:
    further = [m for m in _FURTHER[place.kind] if any(measure_of(f, m) for f in place.figures)]
    confidence = confidence_text(report.comparison)
    turned = is_turned(report, place)
    rate = words.words_of(RATE[place.kind]).title
    plane, off = plane_of(report, place)
    return Block(
        suite=place.suite,
        name=place.name,
        kind=place.kind,
        sentence=sentence(report, place),
        gist=_gist(report, place),
        plane=plane,
        caption=f"Candidates against the old model, {pairs_of(place)}, with {confidence} intervals",
        level_title=LEVEL_TITLES[place.kind] + (" (lower is better)" if turned else ""),
        rate_title=rate,
        further=tuple((words.words_of(m).title, words.words_of(m).meaning) for m in further),
        rows=tuple(_row(report, place, k, further) for k in known),
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


def _row(report: Report, place: Place, known: Known, further: Sequence[str]) -> Row:
    level, rate, number = LEVEL[place.kind], RATE[place.kind], known.number - 1
    figures = place.figures[number]
    return Row(
        known,
        _cell(figures, level),
        _change(report, place, number, level),
        _cell(figures, rate),
        _change(report, place, number, rate),
        tuple(_cell(figures, metric) for metric in further),
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


def _change(report: Report, place: Place, number: int, metric: str) -> Change:
    found = change_of(report, place, number, metric)
    now = measure_of(place.figures[number], metric)
    if found is None or now is None:
        return Change(f"{metric}_change", words.NOT_KNOWN, None)
    by, share = found
    unit: words.Unit = "points" if words.words_of(metric).unit == "share" else "signed score"
    text = words.number(by, unit, words.decimals_of(now))
    if metric not in RATE.values() or share is None:
        return Change(f"{metric}_change", text, repr(by))
    return Change(f"{metric}_change", text, repr(by), relative(share), repr(share))


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

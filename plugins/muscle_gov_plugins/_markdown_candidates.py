"""The section of the Markdown report on a mended update: every model that was judged, as ordered.

One table holds what is pooled and, as that cannot be pooled, the suites scored on a scale. What each
suite by itself shows is in the HTML and the JSON report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from muscle_gov import Report
from muscle_gov_plugins._markdown_figures import MARKS, figure, percent
from muscle_gov_plugins._markdown_text import Section, row, span, table

if TYPE_CHECKING:
    from muscle_gov.data import Candidate
    from muscle_gov.report.candidates import Place

_NAME = 60


def candidates(report: Report) -> Section:
    """Nothing at all where the update was not mended."""
    if not report.candidates:
        return Section("Candidates", (), 0, "candidates")
    # the page's modules are loaded when there is something to say
    from muscle_gov.report.candidates import places_of, sentence, several_tried

    places = places_of(report)
    if any(place.suite == "(all)" for place in places):
        places = [place for place in places if place.suite == "(all)" or place.kind == "graded"]
    told = [sentence(report, places[0], lambda name: span(name, _NAME))] if places else []
    told += ["Change is against the update, on the same answers, and has no interval."]
    told += filter(None, [several_tried(report)])
    kinds = {place.kind for place in places}
    level, rate = ("Accuracy", "NFR") if kinds <= {"binary"} else ("Accuracy or score", "Worse")
    names = ("Candidate", "Role", "Verdict", "Suite", level, rate, "Change")
    rows = [_row(report, place, n) for place in places for n in range(len(report.candidates))]
    head = table(*names, right=names[4:])
    return Section("Candidates", rows, len(rows), "results of candidates", head, " ".join(told))


def _row(report: Report, place: Place, number: int) -> str:
    from muscle_gov.report.candidates import LEVEL, RATE

    one, figures = report.candidates[number], place.figures[number]
    status = one.verdict.status.value
    here = " *(this report)*" if one.comparison.id == report.comparison.id else ""
    return row(
        span(one.name, _NAME) + here,
        _role(one),
        f"{MARKS[status]} {status}",
        span(place.suite, _NAME),
        "∅" if figures is None else figure(figures, LEVEL[place.kind]),
        "∅" if figures is None else figure(figures, RATE[place.kind]),
        _change(report, place, number),
    )


def _role(one: Candidate) -> str:
    name = one.role if one.role in ("update", "mitigation", "control") else span(one.role, _NAME)
    return name if one.cost == 1 else f"{name}, {one.cost:g} models"


def _change(report: Report, place: Place, number: int) -> str:
    """`−2.6 pp (−52.0 %)` of NFR, or of the share of scores that fell."""
    from muscle_gov.report.candidates import RATE, change_of

    change = change_of(report, place, number, RATE[place.kind])
    if change is None:
        return "∅"
    by, share = change
    sign = "+" if by > 0 else ""
    text = f"{sign}{percent(by)} pp"
    return text if share is None else f"{text} ({sign}{percent(share)} %)"

"""What the history page shows, as frozen values: every sentence, number and order is settled here.

A line is told from its whole to its parts: how its updates were judged and what the way from the first
model to the last one broke, the course of the flips, each suite, each update with all that was said of
it, and last the single answers. The newest update stands first in the table, since it is the one that
somebody has to decide about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from muscle_gov.report import words
from muscle_gov.report.history_answers import AnswersView, view_answers
from muscle_gov.report.history_chart import NARROW, WIDE, Course, Point, draw
from muscle_gov.report.history_lines import History, Line, LineHistory, Step
from muscle_gov.report.history_policy import Change
from muscle_gov.report.history_rows import UpdateRow, row_of
from muscle_gov.report.history_suites import SuitesView, view_suites
from muscle_gov.report.history_tries import PolicyChanges, is_loosened, late_pass, policy_changes
from muscle_gov.report.history_words import (
    NAME,
    RATE,
    day,
    drift,
    judged,
    limit_of,
    mended_rates,
    noise_of,
    remarks,
    shown_of,
)
from muscle_gov.report.status import STATUSES, StatusWords
from muscle_gov.text import one_line

LINES_OPEN = 4
"""Lines beyond these are folded away."""


@dataclass(frozen=True)
class ChartView:
    label: str
    """The drawing in words."""
    wide: Course
    narrow: Course
    rate_title: str
    level_title: str
    notes: tuple[str, ...]
    has_limits: bool
    is_each: bool
    """Whether some limit is one on each suite and not on all of them pooled."""
    has_noise: bool
    has_policies: bool
    has_mended: bool
    has_late: bool
    """Whether an update that is drawn passed only when less was asked of it."""


@dataclass(frozen=True)
class PolicyRow:
    """What changed in the rules before one update, or between its first verdict and its last."""

    when: str
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class UpdatesView:
    """A table of updates, the newest first."""

    rows: tuple[UpdateRow, ...]
    level_title: str
    rate_title: str


@dataclass(frozen=True)
class LineView:
    number: int
    first: str
    last: str
    is_single: bool
    status: StatusWords
    """Of the newest update."""
    style: str
    """Class name that sets the colour of the whole; not that of a pass if there is a `status_note`."""
    status_note: str
    """On what condition the newest update passed; empty if on none."""
    sentence: str
    drift: tuple[str, ...]
    remarks: tuple[str, ...]
    notes: tuple[str, ...]
    chart: ChartView | None
    policies: tuple[PolicyRow, ...]
    suites: SuitesView | None
    table: UpdatesView
    answers: AnswersView | None
    is_folded: bool


@dataclass(frozen=True)
class HistoryPage:
    title: str
    byline: str
    lines: tuple[LineView, ...]
    apart: UpdatesView | None
    """Comparisons in no line; None if there are none."""
    left_out: str
    """How many updates were not asked for; empty if none."""
    confidence: str


def history_page(history: History, title: str) -> HistoryPage:
    lines = tuple(_line(one, i, history.store) for i, one in enumerate(history.lines, 1))
    steps = [*(s for one in history.lines for s in one.line.steps), *history.apart]
    apart = [row_of(step, None, (), None, history.store) for step in history.apart]
    sure = sorted({step.comparison.confidence for step in steps})
    n = sum(len(one.line.steps) for one in history.lines)
    told = [
        f"{words.count(len(lines))} line{'' if len(lines) == 1 else 's'} of models",
        f"{words.count(n)} update{'' if n == 1 else 's'}",
        f"until {day(max(step.standing.when for step in steps))}",
        f"store {history.store}",
    ]
    return HistoryPage(
        title=title,
        byline=" · ".join(told),
        lines=lines,
        apart=_table(apart, history.apart) if apart else None,
        left_out=words.count(history.left_out) if history.left_out else "",
        confidence=" or ".join(words.limit_text(c, "share") for c in sure),
    )


def _line(history: LineHistory, number: int, store: str) -> LineView:
    line, changed = history.line, policy_changes(history.line)
    before = [None, *line.steps[:-1]]
    rows = [row_of(step, i, changed[i].before, before[i], store) for i, step in enumerate(line.steps)]
    newest = line.steps[-1]
    late = late_pass(newest)
    return LineView(
        number=number,
        first=line.models[0].name,
        last=line.models[-1].name,
        is_single=len(line.steps) == 1,
        status=STATUSES[newest.standing.status],
        style="open" if late else STATUSES[newest.standing.status].style,
        status_note=late.condition if late else "",
        sentence=judged(line.steps),
        drift=drift(history),
        remarks=remarks(history),
        notes=line.notes,
        chart=_chart(line, changed),
        policies=_policies(line, changed),
        suites=view_suites(line),
        table=_table(rows[::-1], line.steps),
        answers=view_answers(history),
        is_folded=number > LINES_OPEN,
    )


def _policies(line: Line, changed: Sequence[PolicyChanges]) -> tuple[PolicyRow, ...]:
    found = []
    for i, (step, one) in enumerate(zip(line.steps, changed, strict=True), 1):
        name = step.comparison.new.name
        found.append(PolicyRow(f"before update {i}, {name}", one.before))
        found.append(PolicyRow(f"after the first verdict on update {i}, {name}", one.after))
    return tuple(row for row in found if row.changes)


def _table(rows: Sequence[UpdateRow], steps: Sequence[Step]) -> UpdatesView:
    kinds = {shown_of(step.comparison).kind for step in steps}
    level = {"binary": "Accuracy", "graded": "Score"}
    return UpdatesView(
        tuple(rows),
        level[min(kinds)] if len(kinds) == 1 else "Level",
        _rate_title(steps),
    )


def _rate_title(steps: Sequence[Step]) -> str:
    kinds = sorted({shown_of(step.comparison).kind for step in steps})
    return " or ".join(words.words_of(RATE[kind]).title for kind in kinds)


# -------------------------------------------------------------------------------------------- chart


def _chart(line: Line, changed: Sequence[PolicyChanges]) -> ChartView | None:
    points, level = _points(line, changed)
    names = [model.name for model in line.models]
    unit = "share" if level == "Accuracy" else "score"
    wide, narrow = (draw(points, names, unit, size) for size in (WIDE, NARROW))
    if wide is None or narrow is None:
        return None
    notes = []
    if wide.off:
        told = words.listed([words.limit_text(limit, "share") for limit in wide.off])
        notes.append(f"Limits too far off to be drawn: {told}.")
    if wide.n_left_out:
        notes.append(
            f"The {words.count(wide.n_left_out)} oldest updates are not drawn, for want of room."
        )
    elif narrow.n_left_out:
        notes.append("On a narrow screen only the newest updates are drawn.")
    odd = sorted(set(_worst_suites(line)))
    if odd:
        notes.append(
            f"Where there is no figure of all suites pooled, the worst is drawn: {words.listed(odd, 5)}."
        )
    return ChartView(
        label=_in_words(points, line),
        wide=wide,
        narrow=narrow,
        rate_title=_rate_title(line.steps),
        level_title=level,
        notes=tuple(notes),
        has_limits=bool(wide.rates.lines),
        is_each=any(_limits_each(step) for step in line.steps),
        has_noise=bool(wide.noise),
        has_policies=bool(wide.policies),
        has_mended=bool(wide.mended),
        has_late=any(disc.ring for disc in wide.discs),
    )


def _limits_each(step: Step) -> bool:
    shown = shown_of(step.comparison)
    return limit_of(step.standing.verdict, shown.metric, shown.suite)[1]


def _worst_suites(line: Line) -> list[str]:
    found = [shown_of(step.comparison) for step in line.steps]
    return [one_line(s.suite, NAME) for s in found if s.suite != "(all)" and s.n_suites > 1]


def _points(line: Line, changed: Sequence[PolicyChanges]) -> tuple[list[Point], str]:
    shown = [shown_of(step.comparison) for step in line.steps]
    # the scores of two suites have no unit in common
    is_binary = any(s.kind == "binary" and s.old is not None for s in shown)
    is_one = len({s.suite for s in shown}) == 1
    found = []
    for i, (step, one) in enumerate(zip(line.steps, shown, strict=True)):
        has_level = one.kind == "binary" if is_binary else is_one
        limit, _ = limit_of(step.standing.verdict, one.metric, one.suite)
        late = late_pass(step)
        only = f" {late.condition}" if late else ""
        name = one_line(step.comparison.new.name, NAME)
        found.append(
            Point(
                number=i + 1,
                style=STATUSES[step.standing.status].style,
                rate=one.rate,
                old=one.old if has_level else None,
                new=one.new if has_level else None,
                limit=limit,
                noise=noise_of(step, one.suite),
                is_looser=is_loosened(changed[i].overall),
                is_changed=bool(changed[i].overall),
                title=f"update {i + 1}, {name}: {step.standing.status.value}{only}",
                is_late=late is not None,
                mended=mended_rates(step, one),
            )
        )
    return found, "Accuracy" if is_binary else "Mean score"


_MOST_TOLD = 60


def _in_words(points: Sequence[Point], line: Line) -> str:
    """The drawing for those who cannot see it: every update that is drawn."""
    parts = []
    for point, step in list(zip(points, line.steps, strict=True))[-_MOST_TOLD:]:
        sure = words.limit_text(step.comparison.confidence, "share")
        metric = shown_of(step.comparison).metric
        figure = words.spoken(point.rate, metric, sure) if point.rate else "no figure"
        limit = f", limit {words.limit_text(point.limit, 'share')}" if point.limit is not None else ""
        mended = "".join(f", mended with {name} {words.percent(v)}" for v, name in point.mended)
        parts.append(f"{point.title}, {figure}{limit}{mended}")
    return f"Flips of each update: {'; '.join(parts)}."

"""Each suite over the updates of a line: one small drawing each, all on the same scale, worst first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from muscle_gov.data import Measure
from muscle_gov.report import figures, words
from muscle_gov.report.history_chart import (
    SMALL_HEIGHT,
    SMALL_WIDTH,
    Small,
    Tick,
    draw_small,
    small_scale,
)
from muscle_gov.report.history_lines import Line, Step
from muscle_gov.report.history_words import RATE

_MOST = 60
"""Most updates that are drawn."""
_WORST_FIRST = ("apart", "fail", "open", "pass", "none")
_STYLES = {"PASS": "pass", "FAIL": "fail", "INCONCLUSIVE": "open", "INCOMPARABLE": "apart"}


@dataclass(frozen=True)
class SuiteRow:
    name: str
    label: str
    """The drawing in words."""
    small: Small
    newest: figures.Cell
    worst: str
    worst_note: str
    failed: str
    """Numbers of the updates in which a rule on it was surely broken."""


@dataclass(frozen=True)
class SuiteBlock:
    """Suites of one kind, which share a scale."""

    title: str
    meaning: str
    ticks: tuple[Tick, ...]
    rows: tuple[SuiteRow, ...]


@dataclass(frozen=True)
class SuitesView:
    blocks: tuple[SuiteBlock, ...]
    width: int
    height: int
    n_left_out: str
    """Older updates that are not drawn; empty if none."""


def view_suites(line: Line) -> SuitesView | None:
    """None for one suite, whose course is drawn already, and for one update, which has no course."""
    names = {name for step in line.steps for name in step.comparison.figures if name != "(all)"}
    if len(names) < 2 or len(line.steps) < 2:
        return None
    blocks = [block for kind in RATE if (block := _block(line, RATE[kind], sorted(names))) is not None]
    left_out = len(line.steps) - _MOST
    return SuitesView(
        tuple(blocks), SMALL_WIDTH, SMALL_HEIGHT, words.count(left_out) if left_out > 0 else ""
    )


def _block(line: Line, metric: str, names: Sequence[str]) -> SuiteBlock | None:
    having = [n for n in names if any(metric in s.comparison.figures.get(n, {}) for s in line.steps)]
    if not having:
        return None
    rates = {
        name: [step.comparison.figures.get(name, {}).get(metric) for step in line.steps]
        for name in having
    }
    rules = {name: [_rules_on(step, name, metric) for step in line.steps] for name in having}
    drawn = [
        m for found in rates.values() for m in found[-_MOST:] if m is not None and m.value is not None
    ]
    if not drawn:
        return None
    limits = [limit for found in rules.values() for limit, _ in found[-_MOST:] if limit is not None]
    span, ticks = small_scale(drawn, limits)
    rows = []
    for name in sorted(having, key=lambda name: (-_newest(rates[name]), name)):
        limits_, styles = zip(*rules[name][-_MOST:], strict=True)
        small = draw_small(rates[name][-_MOST:], limits_, styles, span)
        rows.append(_row(name, metric, rates[name], [style for _, style in rules[name]], small))
    known = words.words_of(metric)
    return SuiteBlock(known.title, known.meaning, ticks, tuple(rows))


def _rules_on(step: Step, suite: str, metric: str) -> tuple[float | None, str]:
    """(the strictest limit that decided there, the class name of the worst of these rules' outcomes)."""
    verdict = step.standing.verdict
    found = [
        r
        for r in (verdict.rules if verdict is not None else ())
        if r["suite"] == suite and r["slice"] is None
    ]
    found = [r for r in found if r["rule"]["metric"] == metric and r["rule"]["tier"] != "advisory"]
    styles = [_STYLES.get(r["status"], "none") for r in found]
    highest = [r["rule"]["max"] for r in found if r["rule"]["max"] is not None]
    style = min(styles, key=_WORST_FIRST.index) if styles else "none"
    return (min(highest) if highest else None), style


def _newest(rates: Sequence[Measure | None]) -> float:
    """What it is in the newest update; suites that are not in it come last."""
    last = rates[-1]
    return last.value if last is not None and last.value is not None else -1.0


def _row(
    name: str, metric: str, rates: Sequence[Measure | None], styles: Sequence[str], small: Small
) -> SuiteRow:
    known = [(m.value, i) for i, m in enumerate(rates) if m is not None and m.value is not None]
    value, place = max(known, default=(None, 0), key=lambda one: (one[0], one[1]))
    failed = [str(i + 1) for i, style in enumerate(styles) if style == "fail"]
    newest = figures.cell(metric, rates[-1], None, None, "")
    worst = words.NOT_KNOWN if value is None else words.percent(value)
    told = f"{words.words_of(metric).title} of {name or '(no name)'}: {newest.text} in the newest update"
    if value is not None:
        told += f", at worst {worst} in update {place + 1}"
    told += f", measured in {len(known)} of {len(rates)} updates"
    if failed:
        told += f", a rule broken in {words.listed(failed, 8)}"
    note = f"update {place + 1}" if value is not None else ""
    return SuiteRow(name or "(no name)", told, small, newest, worst, note, words.listed(failed, 8))

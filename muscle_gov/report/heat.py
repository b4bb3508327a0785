"""Slices against suites as a heat table: where it is worst, at a glance, and what not to believe.

The shade of a cell is its flip rate on one scale for the whole table; the number stands in it, so that
nobody has to read colours. A cell with fewer pairs than could ever tell anything is muted, however high
its rate is. Slices were looked for and not chosen, and are marked so, except those that a rule names:
they were chosen beforehand, and carry the rule's verdict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from muscle_gov import stats
from muscle_gov.data import Comparison, RuleResult, SuiteFigures, Verdict
from muscle_gov.report import words
from muscle_gov.report.bars import round_up
from muscle_gov.report.figures import KIND_TITLES, WORST_BY, confidence_text, mark_of, surely
from muscle_gov.report.status import STATUSES, WORST_FIRST, StatusWords

SHADES = 5
FEW_RATE = 0.10
"""A cell tells something if its pairs, none of them flipped, would rule out this rate."""
MOST_COLUMNS = 8
_LEAST_FILLED, _LEAST_FILLED_BY_ALL = 0.5, 0.4
ROWS_AT_ONCE = 25
MOST_CELLS = 600


def _fewest() -> int:
    n = stats.smallest_n(lambda n: stats.most_flips_allowed(FEW_RATE, n) >= 0, 10_000)
    return 0 if n is None else n


FEWEST_PAIRS = _fewest()
"""29 with 95 % confidence."""


@dataclass(frozen=True)
class HeatCell:
    suite: str
    slice: str
    text: str
    exact: str | None
    n: str
    shade: int
    """0 (none) to `SHADES`."""
    is_few: bool
    mark: str
    """`worse` or `better` where the net change is more than noise, adjusted for the search."""
    rule: StatusWords | None
    """The verdict of a rule that names the slice."""
    label: str


@dataclass(frozen=True)
class HeatRow:
    name: str
    """The tag's value, or the suite where the values are the columns."""
    under: str
    """The suite, where it is neither the row nor the column."""
    cells: tuple[HeatCell | None, ...]
    rank: int
    """Place of its worst cell among all, from 0."""


@dataclass(frozen=True)
class HeatGroup:
    """The slices of one tag."""

    tag: str
    rows: tuple[HeatRow, ...]


@dataclass(frozen=True)
class HeatTable:
    corner: str
    """What the first column holds."""
    columns: tuple[str, ...]
    caption: str
    groups: tuple[HeatGroup, ...]


@dataclass(frozen=True)
class Key:
    shade: int
    text: str


@dataclass(frozen=True)
class Heat:
    """All slices of one kind of suite."""

    kind: str
    title: str
    metric: str
    key: tuple[Key, ...]
    tables: tuple[HeatTable, ...]
    """The worst cells."""
    more: tuple[HeatTable, ...]
    more_told: str
    left_out: str
    """How many slices are not in the table; empty if all are."""
    has_few: bool
    has_rules: bool
    marks: tuple[str, ...]
    """Which signs of significance are there."""


@dataclass(frozen=True)
class _Style:
    metric: str
    top: float
    confidence: str
    rules: Mapping[tuple[str, str | None], RuleResult]


def chosen_beforehand(verdict: Verdict) -> dict[tuple[str, str | None], RuleResult]:
    """(suite, slice) that a rule names → what it found; the worst where several do."""
    found: dict[tuple[str, str | None], RuleResult] = {}
    for result in verdict.rules:
        if result.slice is None:
            continue
        place = (result.suite, result.slice)
        known = found.get(place)
        if known is None or WORST_FIRST.index(result.status) < WORST_FIRST.index(known.status):
            found[place] = result
    return found


def view_heat(comparison: Comparison, verdict: Verdict) -> tuple[Heat, ...]:
    rules = chosen_beforehand(verdict)
    found = []
    for kind, metric in WORST_BY.items():
        figures = [f for f in comparison.slices if f.kind == kind and _rate(f, metric) is not None]
        if figures:
            found.append(_heat(comparison, kind, figures, rules))
    return tuple(found)


def _heat(
    comparison: Comparison,
    kind: str,
    figures: list[SuiteFigures],
    rules: Mapping[tuple[str, str | None], RuleResult],
) -> Heat:
    metric = WORST_BY[kind]
    # what a rule names stays, then the worst
    figures.sort(key=lambda f: ((f.suite, f.slice) not in rules, -surely(f), f.suite, f.slice or ""))
    told = [f for f in figures if not is_few(f)] or figures
    top = round_up(max(_rate(f, metric) or 0.0 for f in told)) or 1.0
    style = _Style(metric, top, confidence_text(comparison), rules)
    tables = _tables(figures, [f.suite for f in comparison.suites], style)
    ranked = sorted((row for table in tables for group in table.groups for row in group.rows), key=_rank)
    kept = _within(ranked)
    cells = [cell for row in kept for cell in row.cells if cell is not None]
    first, rest = kept[:ROWS_AT_ONCE], kept[ROWS_AT_ONCE:]
    return Heat(
        kind,
        KIND_TITLES[kind],
        words.words_of(metric).title,
        _key(style),
        _with_rows(tables, first),
        _with_rows(tables, rest),
        words.plural(len(rest), "further row") if rest else "",
        words.plural(len(figures) - len(cells), "slice") if len(figures) > len(cells) else "",
        any(cell.is_few for cell in cells),
        any(cell.rule is not None for cell in cells),
        tuple(mark for mark in ("worse", "better") if any(cell.mark == mark for cell in cells)),
    )


def _rank(row: HeatRow) -> int:
    return row.rank


def _within(rows: Sequence[HeatRow]) -> list[HeatRow]:
    """Whole rows, so that no cell is missing in one, up to the budget of cells."""
    kept, cells = [], 0
    for row in rows:
        cells += sum(cell is not None for cell in row.cells)
        if cells > MOST_CELLS:
            break
        kept.append(row)
    return kept


def _with_rows(tables: Sequence[HeatTable], rows: Sequence[HeatRow]) -> tuple[HeatTable, ...]:
    ranks = {row.rank for row in rows}
    found = []
    for table in tables:
        groups = [HeatGroup(g.tag, tuple(r for r in g.rows if r.rank in ranks)) for g in table.groups]
        groups = [group for group in groups if group.rows]
        if groups:
            found.append(replace(table, groups=tuple(groups)))
    return tuple(found)


def _rate(figures: SuiteFigures, metric: str) -> float | None:
    measure = figures.measures.get(metric)
    return None if measure is None else measure.value


def is_few(figures: SuiteFigures) -> bool:
    """Whether so few pairs tell nothing: not even that a change is more than noise."""
    return figures.n_pairs < FEWEST_PAIRS and not mark_of(figures)


# ------------------------------------------------------------------------------------ rows and columns


@dataclass(frozen=True)
class _Layout:
    """How the slices of a tag lie: suites across, values across, or listed with their suite."""

    suites: tuple[str, ...] = ()
    values: tuple[str, ...] = ()

    def columns(self, title: str) -> tuple[str, ...]:
        return self.suites or self.values or (title,)

    def place(self, figures: SuiteFigures) -> tuple[str, str, str]:
        """(name of the row, what stands under it, column)."""
        value = _tag(figures)[1]
        if self.suites:
            return value, "", figures.suite
        return (figures.suite, "", value) if self.values else (value, figures.suite, "")


def _tables(figures: Sequence[SuiteFigures], order: Sequence[str], style: _Style) -> list[HeatTable]:
    """One for all tags if it would not be full of holes, else one for those laid out alike; the worst
    tag comes first. The rank of a row is the place of its worst cell."""
    ranks = {id(f): rank for rank, f in enumerate(figures)}
    tables: dict[tuple[_Layout, str], list[HeatGroup]] = {}
    common = _across(figures, order, _LEAST_FILLED_BY_ALL)
    for tag in dict.fromkeys(_tag(f)[0] for f in figures):
        own = [f for f in figures if _tag(f)[0] == tag]
        layout = _Layout(common) if common else _layout(own, order)
        rows: dict[tuple[str, str], dict[str, SuiteFigures]] = {}
        for one in own:
            name, under, column = layout.place(one)
            rows.setdefault((name, under), {})[column] = one
        shown = tuple(_row(name, cells, layout, ranks, style) for name, cells in rows.items())
        # values across belong to their own tag
        key = (layout, tag if layout.values else "")
        tables.setdefault(key, []).append(HeatGroup(tag, shown))
    title = words.words_of(style.metric).title
    return [
        HeatTable(
            "Suite" if layout.values else "Slice",
            layout.columns(title),
            _caption(title, layout, tag),
            tuple(groups),
        )
        for (layout, tag), groups in tables.items()
    ]


def _caption(title: str, layout: _Layout, tag: str) -> str:
    across = " by suite" if layout.suites else f" by {tag}" if layout.values else ""
    return f"{title} of slices{across}, worst first, with the number of pairs"


def _row(
    name: tuple[str, str],
    found: Mapping[str, SuiteFigures],
    layout: _Layout,
    ranks: Mapping[int, int],
    style: _Style,
) -> HeatRow:
    cells = {column: _cell(one, style) for column, one in found.items()}
    columns = layout.suites or layout.values or ("",)
    rank = min(ranks[id(one)] for one in found.values())
    return HeatRow(*name, tuple(cells.get(column) for column in columns), rank)


def _tag(figures: SuiteFigures) -> tuple[str, str]:
    tag, _, value = (figures.slice or "").partition("=")
    return tag, value


def _layout(figures: Sequence[SuiteFigures], order: Sequence[str]) -> _Layout:
    """Suites across; where they are too many for a page, the tag's values; else a list.

    Values that belong to one suite each would give a table of holes.
    """
    suites = _across(figures, order, _LEAST_FILLED)
    if suites:
        return _Layout(suites)
    values = tuple(sorted({_tag(f)[1] for f in figures}))
    room = len(values) * len({f.suite for f in figures})
    is_full = len(figures) >= _LEAST_FILLED * room and 1 < len(values) <= MOST_COLUMNS
    return _Layout(values=values) if is_full else _Layout()


def _across(
    figures: Sequence[SuiteFigures], order: Sequence[str], least_filled: float
) -> tuple[str, ...]:
    suites = {f.suite for f in figures}
    columns = tuple(suite for suite in order if suite in suites)
    room = len(columns) * len({f.slice for f in figures})
    return columns if len(columns) <= MOST_COLUMNS and len(figures) >= least_filled * room else ()


def _cell(figures: SuiteFigures, style: _Style) -> HeatCell:
    measure = figures.measures[style.metric]
    value, few = measure.value or 0.0, is_few(figures)
    result, mark = style.rules.get((figures.suite, figures.slice)), mark_of(figures)
    spoken = words.spoken(measure, style.metric, style.confidence)
    label = f"{spoken}, {words.plural(figures.n_pairs, 'pair')}"
    if mark:
        p = words.p_text(figures.p_adjusted)
        label += f", net change {mark} (adjusted p {'' if p[0] in '<>' else '= '}{p})"
    if few:
        label += ", too few pairs to tell anything"
    return HeatCell(
        figures.suite,
        figures.slice or "",
        words.percent(value),
        repr(value),
        words.count(figures.n_pairs),
        0 if few else shade_of(value, style.top),
        few,
        mark,
        STATUSES[result.status] if result is not None else None,
        label,
    )


def shade_of(value: float, top: float) -> int:
    """0 for none, else the fifth of the scale that it lies in; the last for what is beyond it."""
    if value <= 0:
        return 0
    return min(SHADES, max(1, math.ceil(value / top * SHADES - 1e-9)))


def _key(style: _Style) -> tuple[Key, ...]:
    edges = [style.top * step / SHADES for step in range(SHADES + 1)]
    unit = words.words_of(style.metric).unit
    return (
        Key(0, "none"),
        *(Key(n, f"to {words.limit_text(edges[n], unit)}") for n in range(1, SHADES + 1)),
    )

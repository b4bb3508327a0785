"""Tables of figures for the report: suites, slices and what became of every instance.

Every number stands in the view twice: as text for people and as the exact value, which the page
carries in `<data value>`, so that a reader may check or copy it. Columns whose figure is undefined
everywhere are named below the table instead of shown empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from muscle_gov.data import Comparison, Measure, Outcome, SuiteFigures, Verdict
from muscle_gov.report import bars, words
from muscle_gov.report.status import StatusWords

TOTAL_NAME = "All suites pooled"
MAIN = {
    "binary": ("accuracy_old", "accuracy_new", "accuracy_delta", "nfr", "pfr"),
    "graded": ("score_old", "score_new", "score_delta", "regression_rate", "gain_rate"),
}
DRAWN = {"binary": ("accuracy_delta", "nfr"), "graded": ("score_delta", "regression_rate")}
WORST_BY = {"binary": "nfr", "graded": "regression_rate"}
MOST_OPEN_ROWS = 12
KIND_TITLES = {"binary": "Right or wrong", "graded": "Scored on a scale"}
Limits = Mapping[tuple[str, str, str | None], float]
"""(metric, suite, slice) → the limit that a rule sets there."""


@dataclass(frozen=True)
class Cell:
    """One figure: texts, and exact values as `repr` writes them."""

    metric: str
    text: str
    exact: str | None
    interval: str
    low: str | None
    high: str | None
    note: str
    """How the interval was made, or why there is no figure."""
    bar: bars.Bar | None = None


@dataclass(frozen=True)
class Column:
    metric: str
    title: str
    meaning: str
    scale: str = ""
    """Of the bars below, if there are any."""


@dataclass(frozen=True)
class Row:
    suite: str
    name: str
    slice: str | None
    score: str
    """Name of the score that decides."""
    is_total: bool
    pairs: str
    n_pairs: int
    of: str
    """How many instances either model has seen."""
    coverage: str
    coverage_exact: str
    cells: tuple[Cell, ...]
    p: str
    p_exact: str | None
    p_raw: str
    p_raw_exact: str | None
    p_method: str
    mde: str
    mde_exact: str | None
    mark: str
    """`worse` or `better` where the change is more than noise, else empty."""
    rule: StatusWords | None = None
    """For a slice that a rule names: what the worst such rule found."""


@dataclass(frozen=True)
class Table:
    kind: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    undefined: tuple[str, ...] = ()
    """Figures left out because no row has them, each with the reason."""

    @property
    def is_long(self) -> bool:
        """Too long to stand open where it is not the main one."""
        return len(self.rows) > MOST_OPEN_ROWS


@dataclass(frozen=True)
class MatrixCell:
    count: str
    exact: int
    share: str
    kind: str


@dataclass(frozen=True)
class Matrix:
    """What became of every instance that either model saw."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[MatrixCell, ...], str], ...]
    """(old outcome, cells, sum)"""
    sums: tuple[str, ...]
    total: str


def limits_of(verdict: Verdict) -> dict[tuple[str, str, str | None], float]:
    """Where several rules limit one figure, the strictest."""
    found: dict[tuple[str, str, str | None], float] = {}
    for result in verdict.rules:
        rule, place = result.rule, (result.rule.metric, result.suite, result.slice)
        limit = rule.max if rule.max is not None else rule.min
        if limit is None or not -1e300 < limit < 1e300:
            continue
        stricter = min if rule.max is not None else max
        found[place] = stricter(found.get(place, limit), limit)
    return found


def confidence_text(comparison: Comparison) -> str:
    return words.limit_text(comparison.confidence, "share")


# ------------------------------------------------------------------------------------------- suites


def suite_tables(comparison: Comparison, limits: Limits) -> tuple[tuple[Table, Table | None], ...]:
    """For each kind of suite the main table, and one with the further figures if there are any."""
    found = []
    for kind in MAIN:
        figures = [f for f in comparison.suites if f.kind == kind]
        total = comparison.total
        if total is not None and total.kind == kind:
            figures.append(total)
        if figures:
            found.append(_pair_of_tables(kind, figures, limits, confidence_text(comparison)))
    return tuple(found)


def _pair_of_tables(
    kind: str, figures: Sequence[SuiteFigures], limits: Limits, confidence: str
) -> tuple[Table, Table | None]:
    measured = {name for f in figures for name in f.measures}
    main = [name for name in MAIN[kind] if name in measured]
    known = [name for name in words.METRICS if name in measured and name not in main]
    other = [*known, *sorted(measured - {*main, *known})]
    defined = [n for n in other if any(_value(f, n) is not None for f in figures)]
    undefined = tuple(
        f"{words.words_of(n).title} ({_why_undefined(figures, n)})" for n in other if n not in defined
    )
    drawn = [n for n in DRAWN[kind] if n != "score_delta" or len(figures) == 1]
    title = KIND_TITLES[kind]
    caption = f"{title}: figures of each suite, with {confidence} intervals"
    first = _table(kind, caption, main, figures, (limits, confidence, drawn))
    if not defined:
        return Table(kind, title, caption, first.columns, first.rows, undefined), None
    further = f"{title}: further figures of each suite, with {confidence} intervals"
    second = _table(kind, further, defined, figures, (limits, confidence, ()))
    return first, Table(kind, title, further, second.columns, second.rows, undefined)


def _value(figures: SuiteFigures, metric: str) -> float | None:
    measure = figures.measures.get(metric)
    return None if measure is None else measure.value


def _why_undefined(figures: Iterable[SuiteFigures], metric: str) -> str:
    reasons = {f.measures[metric].method for f in figures if metric in f.measures}
    return "; ".join(sorted(r.removeprefix("undefined: ") for r in reasons if r)) or "undefined"


def _table(
    kind: str,
    caption: str,
    metrics: Sequence[str],
    figures: Sequence[SuiteFigures],
    style: tuple[Limits, str, Sequence[str]],
) -> Table:
    limits, confidence, drawn = style
    scales = {name: _scale(name, figures, limits) for name in drawn if name in metrics}
    columns = []
    for name in metrics:
        known, scale = words.words_of(name), scales.get(name)
        columns.append(Column(name, known.title, known.meaning, scale.text if scale else ""))
    rows = []
    for one in figures:
        cells = []
        for name in metrics:
            limit = limits.get((name, one.suite, one.slice))
            cells.append(cell(name, one.measures.get(name), scales.get(name), limit, confidence))
        rows.append(_row(one, tuple(cells)))
    return Table(kind, KIND_TITLES[kind], caption, tuple(columns), tuple(rows))


def _scale(metric: str, figures: Sequence[SuiteFigures], limits: Limits) -> bars.Scale | None:
    measures = [f.measures[metric] for f in figures if metric in f.measures]
    places = [(metric, f.suite, f.slice) for f in figures]
    return bars.scale_of(metric, measures, [limits[p] for p in places if p in limits])


def cell(
    metric: str, measure: Measure | None, scale: bars.Scale | None, limit: float | None, confidence: str
) -> Cell:
    """One figure of a table; `measure` is None where it was not measured."""
    if measure is None or measure.value is None:
        why = measure.method if measure is not None else "not measured here"
        return Cell(metric, words.NOT_KNOWN, None, "", None, None, why)
    unit, decimals = words.words_of(metric).unit, words.decimals_of(measure)
    return Cell(
        metric,
        words.number(measure.value, unit, decimals),
        repr(measure.value),
        words.interval(measure, unit),
        _exact(measure.low),
        _exact(measure.high),
        f"{measure.method}, n = {words.count(measure.n)}" if measure.method else "",
        bars.bar(metric, measure, scale, limit, confidence) if scale else None,
    )


def _exact(value: float | None) -> str | None:
    return None if value is None else repr(value)


def _row(figures: SuiteFigures, cells: tuple[Cell, ...]) -> Row:
    is_total = figures.suite == "(all)"
    p = figures.p_adjusted
    return Row(
        suite=figures.suite,
        name=TOTAL_NAME if is_total else figures.suite or "(no name)",
        slice=figures.slice,
        score=figures.metric or "",
        is_total=is_total,
        pairs=words.count(figures.n_pairs),
        n_pairs=figures.n_pairs,
        of=words.count(figures.n_union),
        coverage=words.percent(figures.coverage),
        coverage_exact=repr(figures.coverage),
        cells=cells,
        p=words.p_text(p),
        p_exact=_exact(p),
        p_raw=words.p_text(figures.p_value),
        p_raw_exact=_exact(figures.p_value),
        p_method=figures.p_method,
        mde=detectable(figures),
        mde_exact=_exact(figures.mde),
        mark=mark_of(figures),
    )


def detectable(figures: SuiteFigures) -> str:
    """The smallest true change that so many pairs would show."""
    if figures.mde is None:
        return words.NOT_KNOWN
    if figures.kind == "binary":
        return "±" + words.points(figures.mde).removeprefix("+")
    delta = figures.measures.get("score_delta")
    decimals = words.decimals_of(delta) if delta is not None else 3
    return "±" + words.number(figures.mde, "score", decimals)


def mark_of(figures: SuiteFigures) -> str:
    """Whether the net change is told from noise at 5 %, by the adjusted p where there is one."""
    p = figures.p_value if figures.p_adjusted is None else figures.p_adjusted
    change = _value(figures, "accuracy_delta" if figures.kind == "binary" else "score_delta")
    if p is None or p >= 0.05 or not change:
        return ""
    return "worse" if change < 0 else "better"


# ------------------------------------------------------------------------------------------- slices


def slice_tables(comparison: Comparison, limits: Limits) -> tuple[Table, ...]:
    """Slices by kind of suite, worst first.

    Worst is the highest lower end of the interval of NFR (or of the regression rate): what is surely
    bad stands before what only seems so, and a slice of two instances does not lead.
    """
    found = []
    confidence = confidence_text(comparison)
    for kind, metrics in MAIN.items():
        figures = [f for f in comparison.slices if f.kind == kind]
        if not figures:
            continue
        figures.sort(key=lambda f: (-surely(f), f.p_adjusted or 1.0, f.suite, f.slice or ""))
        chosen = [m for m in metrics if any(m in f.measures for f in figures)]
        caption = f"{KIND_TITLES[kind]}: slices, worst first, with {confidence} intervals"
        style = (limits, confidence, ())
        found.append(_table(kind, caption, chosen, figures, style))
    return tuple(found)


def surely(figures: SuiteFigures) -> float:
    measure = figures.measures.get(WORST_BY[figures.kind])
    if measure is None or measure.value is None:
        return -1.0
    return measure.value if measure.low is None else measure.low


# ------------------------------------------------------------------------------------------ outcomes

_STATES = (*(state.value for state in Outcome), "missing")


def matrix(figures: SuiteFigures) -> Matrix | None:
    """States that neither side ever has are left out; None where nothing was counted."""
    if not figures.outcomes:
        return None
    counts = {tuple(name.split(">")): n for name, n in figures.outcomes.items()}
    old = [s for s in _STATES if any(place[0] == s and n for place, n in counts.items())]
    new = [s for s in _STATES if any(place[-1] == s and n for place, n in counts.items())]
    total = sum(counts.values())
    rows = []
    for state in old:
        cells = tuple(_matrix_cell(state, other, counts.get((state, other), 0), total) for other in new)
        rows.append((state, cells, words.count(sum(cell.exact for cell in cells))))
    sums = tuple(words.count(sum(counts.get((o, state), 0) for o in old)) for state in new)
    name = TOTAL_NAME if figures.suite == "(all)" else figures.suite
    return Matrix(name, tuple(new), tuple(rows), sums, words.count(total))


def has_repeats(figures: SuiteFigures) -> bool:
    """Whether rates average over repeats, so that counts of instances need not agree with them."""
    if _value(figures, "noise_floor") is not None:
        return True
    nfr = _value(figures, "nfr")
    broke = figures.outcomes.get("right>wrong", 0)
    return nfr is not None and bool(figures.outcomes) and abs(nfr * figures.n_pairs - broke) > 1e-6


def legend(tables: Iterable[Table | None]) -> str:
    """What the abbreviations over the columns stand for; empty where there are none."""
    columns = dict.fromkeys(column.metric for table in tables if table for column in table.columns)
    known = [words.words_of(metric) for metric in columns]
    return "; ".join(f"{w.title}: {w.full[:1].lower()}{w.full[1:]}" for w in known if w.full)


_MEANINGS = {("right", "wrong"): "broke", ("wrong", "right"): "mended"}


def _matrix_cell(old: str, new: str, n: int, total: int) -> MatrixCell:
    kind = _MEANINGS.get((old, new), "kept" if old == new else "other") if n else "none"
    return MatrixCell(words.count(n), n, words.percent(n / total if total else 0.0), kind)

"""The candidates of an update side by side, for a person at a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from muscle_gov.cli import _show, _style
from muscle_gov.text import visible

if TYPE_CHECKING:
    from rich.text import Text

    from muscle_gov.data import Candidate, Comparison, Measure, SuiteFigures

_ROLES = {"update": "the update", "mitigation": "mended", "control": "control"}


def show(candidates: Sequence[Candidate], about: Comparison) -> None:
    """One row a candidate and suite; the one that the verdict is about is marked."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    suites = list(dict.fromkeys(f.suite for c in candidates for f in c.comparison.suites))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, title=_title(candidates))
    table.title_justify, table.title_style = "left", "bold"
    for title in ("candidate", "what it is", "verdict"):
        table.add_column(title, overflow="fold")
    for suite in suites:
        table.add_column(Text(f"{suite}\nright"), justify="right", no_wrap=True)
        table.add_column(Text("\nNFR"), justify="right", no_wrap=True)
    for one in candidates:
        mark = "→ " if one.comparison.id == about.id else "  "
        status = one.verdict.status.value
        style = _style.STYLES[status] if one.role != "control" else ""
        found = {f.suite: f for f in one.comparison.suites}
        table.add_row(
            Text(mark + visible(one.name), "bold" if mark.strip() else ""),
            _ROLES.get(one.role, one.role),
            Text(f"{_style.SIGNS[status]} {status}", style),
            *(cell for suite in suites for cell in _cells(found.get(suite))),
        )
    _show.console().print(table)


def _title(candidates: Sequence[Candidate]) -> str:
    old = visible(candidates[0].comparison.old.name).replace("[", "\\[")
    return f"All candidates against {old} (NFR with its interval)"


def _cells(figures: SuiteFigures | None) -> tuple[str | Text, str | Text]:
    if figures is None:
        return "–", "–"
    names = ("accuracy_new", "nfr") if figures.kind == "binary" else ("score_new", "regression_rate")
    right, nfr = (figures.measures.get(name) for name in names)
    return _figure(right, figures.kind == "binary"), _with_interval(nfr)


def _figure(measure: Measure | None, is_share: bool) -> str:
    if measure is None or measure.value is None:
        return "–"
    return f"{measure.value:.1%}" if is_share else f"{measure.value:.3f}"


def _with_interval(measure: Measure | None) -> str:
    if measure is None or measure.value is None or measure.low is None or measure.high is None:
        return "–"
    return f"{measure.value:.1%} ({100 * measure.low:.1f}–{100 * measure.high:.1f})"

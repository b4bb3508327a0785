"""What the page shows, as frozen values: every sentence, number and order is settled here.

The template only places them. The order is that of the questions of whoever signs: may it ship and
why, what changed, how do the suites stand, can it be mended, where is it worst, which answers, by
what method, on what evidence, and who says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from muscle_gov.data import Comparison, Report, RuleResult
from muscle_gov.report import figures, words
from muscle_gov.report.candidates_view import CandidatesView, view_candidates
from muscle_gov.report.compared import ComparedView, view_compared
from muscle_gov.report.evidence import EvidenceView, view_evidence
from muscle_gov.report.flips import Budget, FlipsView, view_flips
from muscle_gov.report.headline import subject_of
from muscle_gov.report.heat import FEW_RATE, FEWEST_PAIRS, Heat, chosen_beforehand, view_heat
from muscle_gov.report.methods import MethodsView, view_methods
from muscle_gov.report.signoff import SignoffView, view_signoff
from muscle_gov.report.status import STATUSES
from muscle_gov.report.strip import Strip, view_strips
from muscle_gov.report.verdict import VerdictView, view_verdict

MOST_SLICES = 250
SLICES_AT_ONCE = 25
MATRICES_AT_ONCE = 8


@dataclass(frozen=True)
class SlicesView:
    heats: tuple[Heat, ...]
    """The worst slices of each kind of suite against its suites."""
    tables: tuple[tuple[figures.Table, figures.Table | None], ...]
    """All figures of the slices, (worst, the next), for each kind of suite."""
    total: str
    """How many were measured; empty if none was."""
    chosen: str
    """How many of them a rule names; empty if none."""
    unchosen: str
    """How many no rule names; empty where none is named or all are."""
    left_out: str
    """How many are not in the tables; empty if all are."""
    few: str
    """How few pairs tell nothing, and what they cannot rule out."""
    few_rate: str


@dataclass(frozen=True)
class Page:
    title: str
    old: str
    new: str
    mended_by: str
    """What mended the new model; empty where it is judged as it came."""
    created: str
    judged: str
    """When the verdict was given; empty where it is not known."""
    verdict: VerdictView
    compared: ComparedView
    strips: tuple[Strip, ...]
    tables: tuple[tuple[figures.Table, figures.Table | None], ...]
    legend: str
    """What the abbreviations of the tables stand for; empty where there are none."""
    has_repeats: bool
    """Whether rates average over repeats, which the matrices do not."""
    matrices: tuple[figures.Matrix, ...]
    more_matrices: tuple[figures.Matrix, ...]
    candidates: CandidatesView | None
    """None where the update was not mended."""
    slices: SlicesView
    flips: FlipsView
    methods: MethodsView
    confidence: str
    comparison_id: str
    evidence: EvidenceView
    signoff: SignoffView


def page_of(report: Report, budget: Budget) -> Page:
    comparison = report.comparison
    limits = figures.limits_of(report.verdict)
    whole = (*([comparison.total] if comparison.total else []), *comparison.suites)
    matrices = [m for m in map(figures.matrix, whole) if m is not None]
    new, mended_by = _names(report)
    tables = figures.suite_tables(comparison, limits)
    judged = report.evidence.judged if report.evidence else None
    return Page(
        title=f"{comparison.old.name} → {new}{f', mended by {mended_by}' if mended_by else ''}",
        old=comparison.old.name,
        new=new,
        mended_by=mended_by,
        created=words.moment(comparison.created),
        judged=words.moment(judged) if judged else "",
        verdict=view_verdict(report),
        compared=view_compared(comparison),
        strips=view_strips(comparison, limits),
        tables=tables,
        legend=figures.legend(table for pair in tables for table in pair),
        has_repeats=any(figures.has_repeats(f) for f in comparison.suites),
        matrices=tuple(matrices[:MATRICES_AT_ONCE]),
        more_matrices=tuple(matrices[MATRICES_AT_ONCE:]),
        candidates=view_candidates(report),
        slices=_slices(report, limits),
        flips=view_flips(report, budget),
        methods=view_methods(report),
        confidence=figures.confidence_text(comparison),
        comparison_id=comparison.id,
        evidence=view_evidence(report),
        signoff=view_signoff(report),
    )


def _names(report: Report) -> tuple[str, str]:
    """(the update that is judged, what mended it, or nothing)."""
    subject, new = subject_of(report), report.comparison.new.name
    update = next((one for one in report.candidates if one.role == "update"), None)
    if subject is None or update is None:
        return new, ""
    return update.comparison.new.name, subject.name or "(no name)"


# ------------------------------------------------------------------------------------------ slices


def _slices(report: Report, limits: figures.Limits) -> SlicesView:
    comparison, chosen = report.comparison, chosen_beforehand(report.verdict)
    tables, left_out = _tables(comparison, limits, chosen)
    named = sum((f.suite, f.slice) in chosen for f in comparison.slices)
    rest = len(comparison.slices) - named
    return SlicesView(
        heats=view_heat(comparison, report.verdict),
        tables=tables,
        total=words.plural(len(comparison.slices), "slice") if comparison.slices else "",
        chosen=words.count(named) if named else "",
        unchosen=words.count(rest) if named and rest else "",
        left_out=words.plural(left_out, "more slice") if left_out else "",
        few=words.count(FEWEST_PAIRS),
        few_rate=words.percent(FEW_RATE, 0),
    )


def _tables(
    comparison: Comparison,
    limits: figures.Limits,
    chosen: Mapping[tuple[str, str | None], RuleResult],
) -> tuple[tuple[tuple[figures.Table, figures.Table | None], ...], int]:
    found, left_out = [], 0
    for table in figures.slice_tables(comparison, limits):
        rows = [_marked(row, chosen) for row in table.rows[:MOST_SLICES]]
        worst, rest = rows[:SLICES_AT_ONCE], rows[SLICES_AT_ONCE:]
        left_out += len(table.rows) - len(rows)
        found.append((_with_rows(table, worst), _with_rows(table, rest) if rest else None))
    return tuple(found), left_out


def _marked(row: figures.Row, chosen: Mapping[tuple[str, str | None], RuleResult]) -> figures.Row:
    result = chosen.get((row.suite, row.slice))
    return row if result is None else replace(row, rule=STATUSES[result.status])


def _with_rows(table: figures.Table, rows: Sequence[figures.Row]) -> figures.Table:
    return figures.Table(table.kind, table.title, table.caption, table.columns, tuple(rows))

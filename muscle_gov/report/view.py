"""What the page shows, as frozen values: every sentence, number and order is settled here.

The template only places them. The order is that of the questions of whoever signs: may it ship and
why, what was compared, how do the suites stand, can it be mended, where is it worst, which answers, by
what method, on what evidence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from muscle_gov.data import Comparison, Report
from muscle_gov.report import figures, words
from muscle_gov.report.candidates_view import CandidatesView, view_candidates
from muscle_gov.report.flips import Budget, FlipsView, view_flips
from muscle_gov.report.verdict import VerdictView, view_verdict

MOST_SLICES = 500
SLICES_AT_ONCE = 25
MOST_OF_A_HEADER = 20_000


@dataclass(frozen=True)
class Difference:
    """One property of both runs; `suites` is empty where it holds for all of them."""

    name: str
    old: str
    new: str
    suites: str


@dataclass(frozen=True)
class HeaderPair:
    suite: str
    old: str
    new: str


@dataclass(frozen=True)
class Page:
    title: str
    old: str
    new: str
    created: str
    verdict: VerdictView
    differences: tuple[Difference, ...]
    same: tuple[Difference, ...]
    not_recorded: tuple[str, ...]
    tables: tuple[tuple[figures.Table, figures.Table | None], ...]
    matrices: tuple[figures.Matrix, ...]
    candidates: CandidatesView | None
    """None where the update was not mended."""
    slices: tuple[tuple[figures.Table, figures.Table | None], ...]
    """(worst, the next), for each kind of suite."""
    slices_total: str
    slices_left_out: str
    """How many are not on the page; empty if all are."""
    flips: FlipsView
    definitions: tuple[tuple[str, words.MetricWords], ...]
    intervals: tuple[str, ...]
    tests: tuple[str, ...]
    confidence: str
    comparison_id: str
    evidence: tuple[tuple[str, str], ...]
    headers: tuple[HeaderPair, ...]


def page_of(report: Report, budget: Budget) -> Page:
    comparison = report.comparison
    limits = figures.limits_of(report.verdict)
    differences, same, not_recorded = _compared(comparison)
    slices, slices_total, left_out = _slices(comparison, limits)
    whole = (*([comparison.total] if comparison.total else []), *comparison.suites)
    matrices = [m for m in map(figures.matrix, whole) if m is not None]
    measures = [m for f in whole for m in f.measures.values() if m.value is not None]
    used = {name for f in whole for name in f.measures}
    known = [name for name in words.METRICS if name in used]
    return Page(
        title=f"{comparison.old.name} → {comparison.new.name}",
        old=comparison.old.name,
        new=comparison.new.name,
        created=words.moment(comparison.created),
        verdict=view_verdict(report),
        differences=differences,
        same=same,
        not_recorded=not_recorded,
        tables=figures.suite_tables(comparison, limits),
        matrices=tuple(matrices),
        candidates=view_candidates(report),
        slices=slices,
        slices_total=slices_total,
        slices_left_out=left_out,
        flips=view_flips(report, budget),
        definitions=tuple((n, words.words_of(n)) for n in [*known, *sorted(used - {*known})]),
        intervals=tuple(sorted({m.method for m in measures if m.low is not None})),
        tests=tuple(sorted({f.p_method for f in whole if f.p_value is not None})),
        confidence=figures.confidence_text(comparison),
        comparison_id=comparison.id,
        evidence=_evidence(report),
        headers=_headers(comparison),
    )


# ----------------------------------------------------------------------------------------- compared

_FIELDS = (
    *("model", "dtype", "engine", "decoding", "harness", "harness_version", "task", "task_version"),
    *("dataset", "split", "n_shot", "chat_template", "system_prompt", "metric", "higher_is_better"),
    *("scorer", "part", "other_metrics", "expected_rows", "complete", "notes", "model_details"),
)
_TITLES = {"n_shot": "examples in the prompt", "expected_rows": "instances evaluated"}


def _compared(
    comparison: Comparison,
) -> tuple[tuple[Difference, ...], tuple[Difference, ...], tuple[str, ...]]:
    """(what differs, what is the same, what neither log tells)."""
    suites = len(comparison.headers)
    seen: dict[tuple[str, str, str], list[str]] = {}
    for suite, (old, new) in comparison.headers.items():
        before, after = _flat(old), _flat(new)
        for name in dict.fromkeys([*before, *after]):
            place = (name, words.plain(before.get(name)), words.plain(after.get(name)))
            seen.setdefault(place, []).append(suite)
    differ, same, unknown = [], [], []
    for (name, before_text, after_text), where in sorted(seen.items(), key=lambda item: _rank(item[0])):
        told = "" if len(where) == suites else words.listed(where)
        row = Difference(name, before_text, after_text, told)
        if before_text != after_text:
            differ.append(row)
        elif before_text == "not recorded":
            unknown.append(name if not told else f"{name} ({told})")
        else:
            same.append(row)
    return tuple(differ), tuple(same), tuple(unknown)


def _flat(header: Mapping[str, Any]) -> dict[str, Any]:
    """One level: `decoding: temperature` and so on."""
    found: dict[str, Any] = {}
    for name, value in header.items():
        title = _TITLES.get(name, name.replace("_", " "))
        if isinstance(value, Mapping) and value:
            found |= {f"{title}: {inner}": value[inner] for inner in sorted(value)}
        else:
            found[title] = value
    return found


def _rank(place: tuple[str, str, str]) -> tuple[int, str, str, str]:
    order = [_TITLES.get(name, name.replace("_", " ")) for name in _FIELDS]
    first = place[0].partition(":")[0]
    return (order.index(first) if first in order else len(order), *place)


# ------------------------------------------------------------------------------- slices and evidence


def _slices(
    comparison: Comparison, limits: figures.Limits
) -> tuple[tuple[tuple[figures.Table, figures.Table | None], ...], str, str]:
    tables = figures.slice_tables(comparison, limits)
    found = []
    left_out = 0
    for table in tables:
        worst, rest = table.rows[:SLICES_AT_ONCE], table.rows[SLICES_AT_ONCE:MOST_SLICES]
        left_out += max(0, len(table.rows) - MOST_SLICES)
        found.append((_with_rows(table, worst), _with_rows(table, rest) if rest else None))
    total = words.count(len(comparison.slices)) if comparison.slices else ""
    return tuple(found), total, words.count(left_out) if left_out else ""


def _with_rows(table: figures.Table, rows: Sequence[figures.Row]) -> figures.Table:
    return figures.Table(table.kind, table.title, table.caption, table.columns, tuple(rows))


def _evidence(report: Report) -> tuple[tuple[str, str], ...]:
    comparison = report.comparison
    return (
        ("Comparison", comparison.id),
        ("Made", words.moment(comparison.created)),
        ("Command", report.command or "not recorded"),
        ("Store", report.store or "not recorded"),
        ("Tool", f"muscle-gov {comparison.tool_version}"),
        ("Policy digest", report.verdict.policy_digest or "none"),
        ("Old model", f"{comparison.old.name}, fingerprint {comparison.old.fingerprint}"),
        ("New model", f"{comparison.new.name}, fingerprint {comparison.new.fingerprint}"),
    )


def _headers(comparison: Comparison) -> tuple[HeaderPair, ...]:
    return tuple(
        HeaderPair(suite, _pretty(old), _pretty(new)) for suite, (old, new) in comparison.headers.items()
    )


def _pretty(header: Mapping[str, Any]) -> str:
    text = json.dumps(header, indent=2, sort_keys=True, ensure_ascii=False, default=str)
    return words.clip(text, MOST_OF_A_HEADER)

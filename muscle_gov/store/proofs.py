"""What the store knows of how a comparison came about: its runs, their logs, and when it was judged."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from muscle_gov.store.connection import Store


@dataclass(frozen=True)
class ProvedRun:
    """One run behind a comparison."""

    run_id: int
    suite: str
    side: str
    """`old` or `new`."""
    number: int
    """1 for the run that is paired, 2 and more for further runs of the same model on the suite."""
    n_repeats: int
    is_graded: bool
    has_answers: bool
    higher_is_better: bool
    reader: str
    sources: tuple[Mapping[str, str], ...]
    """`path` and `sha256` of each file of its log; empty where the answers were asked for here."""


def runs_of(store: Store, comparison_id: str) -> list[ProvedRun]:
    """All runs that a comparison was given, by suite, the old side first."""
    rows = store.rows(
        """SELECT r.run_id, s.name, c.side,
            row_number() OVER (PARTITION BY s.name, c.side ORDER BY c.place) AS number,
            r.n_repeats, r.is_graded, r.has_answers,
            coalesce(r.header ->> 'higher_is_better', 'true') <> 'false', i.reader, i.sources
        FROM comparison_runs c JOIN runs r USING (run_id) JOIN suites s USING (suite_id)
        JOIN imports i USING (import_id)
        WHERE c.comparison_id = ? ORDER BY s.name, c.side DESC, number""",
        [comparison_id],
    )
    names = [field.name for field in dataclasses.fields(ProvedRun)]
    found = []
    for row in rows:
        known: dict[str, Any] = dict(zip(names, row, strict=True))
        known["sources"] = tuple(json.loads(known["sources"]))
        found.append(ProvedRun(**known))
    return found


def judged_at(store: Store, comparison_id: str) -> str | None:
    """When the newest verdict was given, UTC, ISO 8601; None if there is none."""
    rows = store.rows(
        "SELECT given_at FROM verdicts WHERE comparison_id = ? ORDER BY rowid DESC LIMIT 1",
        [comparison_id],
    )
    return f"{rows[0][0].isoformat()}Z" if rows else None


def versions_of(store: Store, comparison_id: str) -> dict[str, str]:
    """muscle-gov, Python and DuckDB as they were when the comparison was made; empty if not recorded."""
    rows = store.rows(
        """SELECT tool_version, python_version, duckdb_version FROM events
        WHERE what = 'compare' AND details ->> 'comparison' = ? ORDER BY happened_at LIMIT 1""",
        [comparison_id],
    )
    return dict(zip(("muscle-gov", "Python", "DuckDB"), rows[0], strict=True)) if rows else {}


@dataclass(frozen=True)
class KeptVerdict:
    """A verdict as its row tells it."""

    given: str
    """When, UTC, ISO 8601."""
    status: str
    reason: str
    exit_code: int
    rules: object
    """What each rule found, as plain values."""


def kept_verdict(store: Store, comparison_id: str, given: str | None = None) -> KeptVerdict | None:
    """The newest verdict on a comparison, or the newest that was given at this time (UTC, ISO 8601);
    None if there is none."""
    moment = given.removesuffix("Z") if given is not None else None
    rows = store.rows(
        """SELECT given_at, status, reason, exit_code, rules FROM verdicts
        WHERE comparison_id = ? AND (?::VARCHAR IS NULL OR given_at = try_cast(? AS TIMESTAMP))
        ORDER BY rowid DESC LIMIT 1""",
        [comparison_id, moment, moment],
    )
    if not rows:
        return None
    when, status, reason, code, rules = rows[0]
    return KeptVerdict(f"{when.isoformat()}Z", status, reason, code, json.loads(rules))


def kept_measures(store: Store, comparison_id: str) -> dict[tuple[str, str | None, str], object]:
    """(suite, slice, metric) → the measure as it was kept when the comparison was made."""
    rows = store.rows(
        """SELECT suite, slice, metric, value, low, high, n, method FROM measures
        WHERE comparison_id = ?""",
        [comparison_id],
    )
    names = ("value", "low", "high", "n", "method")
    return {row[:3]: dict(zip(names, row[3:], strict=True)) for row in rows}

"""Comparisons and verdicts as they were given, and the runs they rest on."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from muscle_gov.data import Comparison, Verdict
from muscle_gov.errors import UsageError
from muscle_gov.store.clock import is_set, now
from muscle_gov.store.columns import table
from muscle_gov.store.writing import record_event

if TYPE_CHECKING:
    from muscle_gov.store.connection import Store


@dataclasses.dataclass(frozen=True)
class SavedComparison:
    """Enough to make a comparison again."""

    id: str
    created: str
    old_model: str
    new_model: str
    settings: Mapping[str, Any]
    command: str | None
    old_runs: tuple[int, ...]
    new_runs: tuple[int, ...]
    blocked: tuple[str, ...] = ()
    """Plugins that were shut out when it was made, and stay so."""


@dataclasses.dataclass(frozen=True)
class SavedPolicy:
    """What a verdict was given by, as it was kept."""

    gate: Mapping[str, Any]
    waivers: Sequence[Mapping[str, Any]]
    allow: Sequence[str]
    given_at: datetime
    """When the verdict was given, UTC."""
    today: date
    """The day on which waivers and quarantine were looked at."""
    quarantine: Sequence[Mapping[str, Any]] = ()
    edition: int = 1
    """Of what tiers and waivers mean: verdicts from before this was counted are of the first."""
    command: str | None = None
    """The command line that gave the verdict; None if it was not kept."""


@dataclasses.dataclass(frozen=True)
class HistoryRow:
    """One line of `muscle-gov history`."""

    id: str
    created: str
    old_model: str
    new_model: str
    status: str | None
    """The newest verdict."""
    reason: str | None
    earlier: tuple[str, ...]
    """Verdicts given before it, the oldest first."""
    suites: int
    """How many were measured; those that `--suite` left out are not counted."""
    suite: str | None
    """Whose figures these are: `(all)`, or the worst suite where there is no total."""
    n_pairs: int | None
    nfr: float | None
    nfr_high: float | None
    accuracy_delta: float | None
    role: str | None = None
    """`mitigation` or `control` where the new model was one, when an update was mended."""


def new_id(store: Store) -> str:
    """A short name for a comparison, unused so far: a date and six letters or digits.

    Where the time is set from outside, the name follows from it, so that equal work has equal bytes.
    """
    attempts = itertools.count()
    while True:
        seed = f"{now()} {next(attempts)}" if is_set() else uuid.uuid4().hex
        name = f"{now():%Y%m%d}-{hashlib.sha256(seed.encode()).hexdigest()[:6]}"
        if not store.rows("SELECT 1 FROM comparisons WHERE comparison_id = ?", [name]):
            return name


def run_facts(store: Store, run_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Everything that is known of these runs, in the order given."""
    rows = store.rows(
        """SELECT run_id, suite_id, s.name, m.name, m.fingerprint, m.details, header, i.reader,
            n_rows, n_instances, n_repeats, n_duplicates, n_bad_lines, is_graded, has_clusters,
            has_answers, i.import_id
        FROM runs JOIN suites s USING (suite_id) JOIN models m USING (model_id)
        JOIN imports i USING (import_id) WHERE run_id IN (SELECT unnest(?::BIGINT[]))""",
        [list(run_ids)],
    )
    names = [
        "run_id",
        "suite_id",
        "suite",
        "model",
        "model_fingerprint",
        "model_details",
        "header",
        "reader",
        "n_rows",
        "n_instances",
        "n_repeats",
        "n_duplicates",
        "n_bad_lines",
        "is_graded",
        "has_clusters",
        "has_answers",
    ]
    found = {}
    for row in rows:
        facts = dict(zip(names, row[:-1], strict=True))
        facts["model_details"] = json.loads(facts["model_details"])
        facts["header"] = json.loads(facts["header"])
        bad = store.rows("SELECT place, why FROM bad_lines WHERE import_id = ? LIMIT 3", [row[-1]])
        facts["bad_lines"] = tuple(f"{place}: {why}" for place, why in bad)
        found[facts["run_id"]] = facts
    return [found[run_id] for run_id in run_ids]


def save_comparison(
    store: Store,
    comparison: Comparison,
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
    settings: Mapping[str, Any],
    command: str | None,
) -> None:
    """Keep a comparison with all its measures. `runs` holds the facts of each side's runs."""
    old, new = runs["old"], runs["new"]
    models = [
        store.rows("SELECT model_id FROM runs WHERE run_id = ?", [side[0]["run_id"]])[0][0]
        for side in (old, new)
    ]
    findings = json.dumps([dataclasses.asdict(f) for f in comparison.findings])
    given = [comparison.id, now(), *models, json.dumps(settings), findings, command]
    measures = list(_measures(comparison))
    with store.transaction():
        store.run(
            "INSERT INTO comparisons VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [*given, comparison.tool_version],
        )
        _save_runs(store, comparison.id, old, new)
        if measures:
            names = ["comparison_id", "suite", "slice", "metric", "value", "low", "high", "n", "method"]
            columns = list(zip(*measures, strict=True))
            kinds = [*["string"] * 4, *["float64"] * 3, "int64", "string"]
            store.insert("INSERT INTO measures SELECT * FROM batch", table(columns, kinds, names))
        record_event(store, "compare", {"comparison": comparison.id, "command": command})


def _save_runs(
    store: Store, id_: str, old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]
) -> None:
    """Every run of each side, those of suites that the other side lacks among them; and the pairs."""
    first: dict[tuple[str, int], int] = {}
    for side, runs in (("old", old), ("new", new)):
        for place, run in enumerate(runs):
            given = [id_, side, place, run["run_id"]]
            store.run("INSERT INTO comparison_runs VALUES (?, ?, ?, ?)", given)
            first.setdefault((side, run["suite_id"]), run["run_id"])
    for (side, suite_id), run_id in first.items():
        if side == "old" and ("new", suite_id) in first:
            given = [id_, suite_id, run_id, first["new", suite_id]]
            store.run("INSERT INTO compared_runs VALUES (?, ?, ?, ?)", given)


def _measures(comparison: Comparison) -> Any:
    totals = [comparison.total] if comparison.total else []
    for figures in (*comparison.suites, *totals, *comparison.slices):
        for metric, m in figures.measures.items():
            yield (
                comparison.id,
                figures.suite,
                figures.slice,
                metric,
                m.value,
                m.low,
                m.high,
                m.n,
                m.method,
            )


def save_verdict(store: Store, comparison_id: str, verdict: Verdict, policy: Any, waivers: Any) -> None:
    """Keep a verdict; earlier ones on the same comparison stay, and the newest is that which was kept
    last, whatever the clocks of the machines said.

    `policy` is a mapping with `gate`, `allow`, `quarantine`, `today`, `edition` and `command`, or None
    where nothing was judged; `waivers` a list of mappings.
    """
    rules = json.dumps([dataclasses.asdict(rule) for rule in verdict.rules])
    with store.transaction():
        store.run(
            "INSERT INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                comparison_id,
                now(),
                verdict.status.value,
                verdict.reason,
                verdict.exit_code,
                json.dumps(policy) if policy is not None else None,
                verdict.policy_digest,
                json.dumps(waivers),
                rules,
            ],
        )
        details = {"comparison": comparison_id, "status": verdict.status.value}
        record_event(store, "verdict", details)


def find_comparison(store: Store, wanted: str | None) -> SavedComparison:
    """The comparison with this id (or the start of one), or the latest. Raises UsageError.

    Of a mending, the latest is the one that its verdict is about: a control is nobody's update.
    """
    rows = store.rows(
        """SELECT comparison_id, created_at, o.name, n.name, settings, command
        FROM comparisons c JOIN models o ON o.model_id = c.old_model_id
        JOIN models n ON n.model_id = c.new_model_id
        WHERE (? IS NULL AND comparison_id NOT IN
                (SELECT comparison_id FROM candidates WHERE NOT is_about))
            OR starts_with(comparison_id, ?)
        ORDER BY c.rowid DESC LIMIT 2""",
        [wanted, wanted],
    )
    if not rows:
        if wanted:
            hint = f"no comparison {wanted!r}; `muscle-gov history` lists those it has"
        else:
            hint = "no comparison yet; `muscle-gov compare OLD NEW` makes one"
        raise UsageError(f"{store.path}: holds {hint}")
    if wanted and len(rows) > 1 and rows[0][0] != wanted:
        raise UsageError(f"{wanted!r} is the start of several comparisons; give more of the id")
    id_, created, old, new, settings, command = rows[0]
    runs = store.rows(
        "SELECT side, run_id FROM comparison_runs WHERE comparison_id = ? ORDER BY side, place", [id_]
    )
    kept = json.loads(settings)
    return SavedComparison(
        id_,
        created.isoformat() + "Z",
        old,
        new,
        kept["compare"],
        command,
        tuple(run for side, run in runs if side == "old"),
        tuple(run for side, run in runs if side == "new"),
        tuple(kept["blocked"]),
    )


def suite_sizes(store: Store, comparison_id: str) -> list[tuple[str, int, float | None]]:
    """(suite, pairs, share of pairs that flipped either way) of a comparison's binary suites."""
    rows = store.rows(
        """SELECT suite, max(n) FILTER (metric = 'nfr'),
            sum(value) FILTER (metric IN ('nfr', 'pfr'))
        FROM measures WHERE comparison_id = ? AND slice IS NULL GROUP BY suite
        HAVING max(n) FILTER (metric = 'nfr') IS NOT NULL ORDER BY suite""",
        [comparison_id],
    )
    return [(suite, int(n), flips) for suite, n, flips in rows]


def last_policy(store: Store, comparison_id: str) -> SavedPolicy | None:
    """What the newest verdict was given by; None if it was never judged."""
    rows = store.rows(
        """SELECT policy, waivers, given_at FROM verdicts WHERE comparison_id = ?
        ORDER BY rowid DESC LIMIT 1""",
        [comparison_id],
    )
    if not rows or rows[0][0] is None:
        return None
    policy = json.loads(rows[0][0])
    return SavedPolicy(
        policy["gate"],
        json.loads(rows[0][1]),
        policy["allow"],
        rows[0][2],
        date.fromisoformat(policy["today"]) if "today" in policy else rows[0][2].date(),
        policy.get("quarantine", ()),
        policy.get("edition", 1),
        policy.get("command"),
    )


def history(store: Store, model: str | None = None) -> list[HistoryRow]:
    """All comparisons with all their verdicts, newest first.

    The figures are those of all suites pooled where there is such a total, else of the worst suite.
    """
    rows = store.rows(
        """SELECT c.comparison_id, c.created_at, o.name, n.name, v.status, v.reason,
            coalesce(v.earlier, []), (SELECT count(DISTINCT s.suite) FROM measures s
                WHERE s.comparison_id = c.comparison_id AND s.slice IS NULL AND s.suite <> '(all)'),
            m.suite, m.n, m.value, m.high, d.value, (SELECT any_value(role) FROM candidates k
                WHERE k.comparison_id = c.comparison_id AND role <> 'update')
        FROM comparisons c
        JOIN models o ON o.model_id = c.old_model_id JOIN models n ON n.model_id = c.new_model_id
        LEFT JOIN (SELECT comparison_id, last(status ORDER BY place) AS status,
                last(reason ORDER BY place) AS reason,
                list(status ORDER BY place)[:-2] AS earlier
            FROM (SELECT *, rowid AS place FROM verdicts) GROUP BY comparison_id) v USING (comparison_id)
        LEFT JOIN (SELECT * FROM measures WHERE slice IS NULL AND metric IN ('nfr', 'regression_rate')
            QUALIFY row_number() OVER (PARTITION BY comparison_id
                ORDER BY suite = '(all)' DESC, value DESC NULLS LAST, suite) = 1) m USING (comparison_id)
        LEFT JOIN measures d ON d.comparison_id = c.comparison_id AND d.suite = m.suite
            AND d.slice IS NULL AND d.metric IN ('accuracy_delta', 'score_delta')
        WHERE ? IS NULL OR o.name GLOB ? OR n.name GLOB ?
        ORDER BY c.rowid DESC""",
        [model, model, model],
    )
    names = [field.name for field in dataclasses.fields(HistoryRow)]
    found = []
    for row in rows:
        known: dict[str, Any] = dict(zip(names, row, strict=True))
        known |= {"created": row[1].isoformat() + "Z", "earlier": tuple(known["earlier"])}
        found.append(HistoryRow(**known))
    return found

"""What a verdict rests on, gathered from the store: digests of everything it was made from, and SQL.

Digests are of content, never of files that a copy would change, and never of the store's own numbers:
a copied store gives the same evidence. A figure and the SQL beside it come by two ways that share
nothing, the pairs of `compare` and the raw tables.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from muscle_gov.data import Comparison, Evidence, Query, Report, Resource, SuiteFigures, Verdict
from muscle_gov.store import Store, digests, proofs, queries, records
from muscle_gov.store.proofs import ProvedRun

TITLES: Mapping[str, str] = {
    "accuracy_old": "Accuracy, old",
    "accuracy_new": "Accuracy, new",
    "nfr": "NFR",
    "pfr": "PFR",
    "nfr_mc": "NFR_mc",
    "score_old": "Score, old",
    "score_new": "Score, new",
    "score_delta": "Δ score",
    "regression_rate": "Regression rate",
    "gain_rate": "Gain rate",
}
"""Headline figures, as queries name them."""
FLIPS: Mapping[str, str] = {
    "negative": "Negative flips",
    "positive": "Positive flips",
    "wrong_to_wrong": "Wrong answers that changed",
    "loss": "Answers that got worse",
    "gain": "Answers that got better",
}
TOTAL = "(all)"


def collect(store: Store, report: Report, config: Resource | None = None) -> Evidence:
    """The evidence of a report whose comparison the store holds.

    `config` is the update.toml, if it was made from one. Reads every row of the comparison once; about
    a second for 100,000 answers. Raises UsageError if the store has no such comparison.
    """
    comparison, verdict = report.comparison, report.verdict
    runs = proofs.runs_of(store, comparison.id)
    resources = (
        *_models(comparison),
        *_logs(runs),
        *row_resources(store, runs),
        *_asked(verdict),
        *((config,) if config is not None else ()),
    )
    settings = records.find_comparison(store, comparison.id).settings
    threshold = settings.get("threshold")
    found = (
        *_queries(comparison, runs, threshold, report.flip_counts),
        *_broken(store, comparison, runs, threshold),
    )
    judged = proofs.judged_at(store, comparison.id)
    return Evidence(resources, found, proofs.versions_of(store, comparison.id), judged)


def with_evidence(store: Store, report: Report, config: Path | None = None) -> Report:
    """The report with its evidence, for formats that are written to files."""
    told = config_of(config) if config is not None else None
    return replace(report, evidence=collect(store, report, told))


def config_of(path: Path) -> Resource:
    """An update.toml as a resource. Raises OSError if it cannot be read."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Resource("config", path.name, digest, {"path": str(path)})


def label_of(run: ProvedRun) -> str:
    """`routing, old`; further runs of a side have their number: `routing, old, run 2`."""
    return f"{run.suite}, {run.side}" + (f", run {run.number}" if run.number > 1 else "")


# ---------------------------------------------------------------------------------------- resources


def _models(comparison: Comparison) -> Iterator[Resource]:
    for side, model in (("old", comparison.old), ("new", comparison.new)):
        yield Resource("model", model.name, model.fingerprint, {"side": side})


def _logs(runs: Sequence[ProvedRun]) -> list[Resource]:
    """Each file once for each side."""
    found: dict[tuple[str, str, str], Resource] = {}
    for run in runs:
        for source in run.sources:
            details = {"side": run.side, "reader": run.reader}
            key = run.side, source["path"], source["sha256"]
            found.setdefault(key, Resource("log", source["path"], source["sha256"], details))
    return list(found.values())


def row_resources(store: Store, runs: Sequence[ProvedRun]) -> list[Resource]:
    """The instances and the answers of these runs, by their rows."""
    return [*_suites(store, runs), *_predictions(store, runs)]


def _suites(store: Store, runs: Sequence[ProvedRun]) -> Iterator[Resource]:
    """The instances of each suite: once where all logs tell the same of them, else for each run."""
    of_runs = digests.of_instances(store, [run.run_id for run in runs])
    for suite in dict.fromkeys(run.suite for run in runs):
        members = [run for run in runs if run.suite == suite]
        found = {of_runs[run.run_id] for run in members}
        for run in members[:1] if len(found) == 1 else members:
            digest = of_runs[run.run_id]
            details: dict[str, Any] = {"suite": suite, "rows": digest.rows}
            if len(found) > 1:
                details["side"] = run.side
            name = suite if len(found) == 1 else label_of(run)
            yield Resource("suite", name, digest.sha256, details)


def _predictions(store: Store, runs: Sequence[ProvedRun]) -> Iterator[Resource]:
    of_runs = digests.of_answers(store, [run.run_id for run in runs])
    for run in runs:
        digest = of_runs[run.run_id]
        details = {"side": run.side, "suite": run.suite, "rows": digest.rows}
        yield Resource("predictions", label_of(run), digest.sha256, details)


def _asked(verdict: Verdict) -> Iterator[Resource]:
    """The policy as it was judged, and the exceptions to it."""
    if verdict.policy_digest is not None:
        places = dict.fromkeys(rule.place.rpartition(":")[0] for rule in verdict.rules if rule.place)
        name = ", ".join(places) or "policy"
        yield Resource("policy", name, verdict.policy_digest, {"rules": len(verdict.rules)})
    for kind, given in (
        ("waivers", [asdict(one.waiver) for one in verdict.waivers]),
        ("quarantine", [asdict(one.quarantine) for one in verdict.quarantined]),
    ):
        if given:
            yield Resource(kind, kind, digest_of(given), {"entries": len(given)})


def digest_of(value: Any) -> str:
    """SHA-256 of plain values as JSON with sorted keys and without white space."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


# ------------------------------------------------------------------------------------------ queries


def _queries(
    comparison: Comparison,
    runs: Sequence[ProvedRun],
    threshold: float | None,
    flip_counts: Mapping[str, int],
) -> Iterator[Query]:
    """Each headline figure of the total and of each suite, then the flips of all suites."""
    every = (*((comparison.total,) if comparison.total is not None else ()), *comparison.suites)
    binary = [f.suite for f in comparison.suites if f.kind == "binary"]
    for figures in every:
        suites = binary if figures.suite == TOTAL else [figures.suite]
        yield from _of_figures(figures, scope_of(comparison.id, suites, runs, threshold))
    graded = [f.suite for f in comparison.suites if f.kind == "graded"]
    for kind, n in flip_counts.items():
        suites = graded if kind in ("loss", "gain") else binary
        if suites:
            scope = scope_of(comparison.id, suites, runs, threshold)
            yield Query(f"{FLIPS[kind]}, all suites", queries.flip_count(scope, kind), n)


def _broken(
    store: Store, comparison: Comparison, runs: Sequence[ProvedRun], threshold: float | None
) -> Iterator[Query]:
    """How many answers of each suite got worse, where there is more than one suite."""
    for figures in comparison.suites if len(comparison.suites) > 1 else ():
        kind = "negative" if figures.kind == "binary" else "loss"
        sql = queries.flip_count(scope_of(comparison.id, [figures.suite], runs, threshold), kind)
        yield Query(f"{FLIPS[kind]} of {figures.suite}", sql, store.rows(sql)[0][0])


def _of_figures(figures: SuiteFigures, scope: queries.Scope) -> Iterator[Query]:
    if figures.n_pairs == 0:
        return
    is_binary = figures.kind == "binary"
    write = queries.binary_figure if is_binary else queries.graded_figure
    where = "all suites" if figures.suite == TOTAL else figures.suite
    for metric in queries.BINARY_FIGURES if is_binary else queries.GRADED_FIGURES:
        measure = figures.measures.get(metric)
        if measure is not None and measure.value is not None:
            yield Query(f"{TITLES[metric]} of {where}", write(scope, metric), measure.value)


def scope_of(
    comparison_id: str, suites: Sequence[str], runs: Sequence[ProvedRun], threshold: float | None
) -> queries.Scope:
    """What a query on these suites must know of their runs."""
    members = {suite: [run for run in runs if run.suite == suite] for suite in suites}
    single = all(len(of) == 2 and all(run.n_repeats <= 1 for run in of) for of in members.values())
    graded = {suite: any(run.is_graded for run in of) for suite, of in members.items()}
    reached = tuple(suite for suite in suites if graded[suite]) if threshold is not None else ()
    return queries.Scope(
        comparison_id,
        tuple(suites),
        single,
        threshold if reached else None,
        reached,
        tuple(suite for suite in suites if not _is_higher_better(members[suite])),
        tuple(suite for suite in suites if not all(run.has_answers for run in members[suite])),
    )


def _is_higher_better(runs: Sequence[ProvedRun]) -> bool:
    first = next((run for run in runs if run.side == "old"), runs[0])
    return first.higher_is_better

"""What the verdict rests on, as the page shows it: digests, versions, and the SQL behind the headline.

Digests stand in full, since whoever checks one needs all of it; the sign-off has their beginnings. All
of it comes from the Report: a report without evidence still names the comparison, the models and the
policy.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from muscle_gov.data import Evidence, Report, Resource
from muscle_gov.report import words

MOST_OF_A_HEADER = 20_000
RESOURCES_AT_ONCE = 12
QUERIES_AT_ONCE = 10
_KINDS: Mapping[str, str] = {
    "model": "Models",
    "suite": "Suites",
    "predictions": "Predictions",
    "log": "Logs",
    "policy": "Policy",
    "waivers": "Waivers",
    "quarantine": "Quarantine",
    "config": "Configuration",
}


@dataclass(frozen=True)
class ResourceRow:
    name: str
    details: str
    digest: str


@dataclass(frozen=True)
class ResourceGroup:
    title: str
    rows: tuple[ResourceRow, ...]
    more: tuple[ResourceRow, ...]
    """Those that are folded away."""


@dataclass(frozen=True)
class QueryView:
    title: str
    value: str
    exact: str
    sql: str


@dataclass(frozen=True)
class HeaderPair:
    suite: str
    old: str
    new: str


@dataclass(frozen=True)
class EvidenceView:
    facts: tuple[tuple[str, str], ...]
    commands: tuple[tuple[str, str], ...]
    """(what it did, command line), empty where it is not known"""
    resources: tuple[ResourceGroup, ...]
    versions: tuple[tuple[str, str], ...]
    queries: tuple[QueryView, ...]
    more_queries: tuple[QueryView, ...]
    open_store: str
    """The command that opens the store for the queries; empty where no store is known."""
    headers: tuple[HeaderPair, ...]
    is_collected: bool


def view_evidence(report: Report) -> EvidenceView:
    proof = report.evidence
    queries = _queries(proof) if proof else ()
    return EvidenceView(
        facts=_facts(report),
        commands=_commands(report),
        resources=_resources(proof) if proof else (),
        versions=tuple(proof.versions.items()) if proof else (),
        queries=queries[:QUERIES_AT_ONCE],
        more_queries=queries[QUERIES_AT_ONCE:],
        open_store=f"duckdb -readonly {shlex.quote(report.store)}" if report.store else "",
        headers=_headers(report),
        is_collected=proof is not None,
    )


def _commands(report: Report) -> tuple[tuple[str, str], ...]:
    """The verdict may have come later, from a `gate` with other rules and waivers."""
    if report.judged_by is None and report.verdict.policy_digest is None:
        return (("Compared by", report.command or ""),)
    if report.judged_by is not None and report.judged_by == report.command:
        return (("Compared and judged by", report.judged_by),)
    return ("Compared by", report.command or ""), ("Judged by", report.judged_by or "")


def _facts(report: Report) -> tuple[tuple[str, str], ...]:
    comparison, proof = report.comparison, report.evidence
    judged = proof.judged if proof else None
    return (
        ("Comparison", comparison.id),
        ("Made", words.moment(comparison.created)),
        *([("Judged", words.moment(judged))] if judged else []),
        ("Store", report.store or "not recorded"),
        ("Tool", f"muscle-gov {comparison.tool_version}"),
        ("Policy digest", report.verdict.policy_digest or "none"),
        ("Old model", f"{comparison.old.name}, fingerprint {comparison.old.fingerprint}"),
        ("New model", f"{comparison.new.name}, fingerprint {comparison.new.fingerprint}"),
    )


def _resources(proof: Evidence) -> tuple[ResourceGroup, ...]:
    kinds = dict.fromkeys([*_KINDS, *(r.kind for r in proof.resources)])
    groups = []
    for kind in kinds:
        rows = tuple(_resource(r) for r in proof.resources if r.kind == kind)
        if rows:
            first, rest = rows[:RESOURCES_AT_ONCE], rows[RESOURCES_AT_ONCE:]
            groups.append(ResourceGroup(_KINDS.get(kind, kind), first, rest))
    return tuple(groups)


def _resource(resource: Resource) -> ResourceRow:
    details = ", ".join(f"{name} {words.plain(value)}" for name, value in resource.details.items())
    return ResourceRow(resource.name, details, resource.digest)


def _queries(proof: Evidence) -> tuple[QueryView, ...]:
    found = []
    for query in proof.queries:
        exact = "NULL" if query.value is None else repr(query.value)
        found.append(QueryView(query.title, _rounded(query.value), exact, query.sql.strip()))
    return tuple(found)


def _rounded(value: float | None) -> str:
    """As people read it: a count as it is, a share in its digits; the exact value stands beside it."""
    if value is None:
        return words.NOT_KNOWN
    return words.count(value) if isinstance(value, int) else f"{value:.6g}"


def _headers(report: Report) -> tuple[HeaderPair, ...]:
    headers = report.comparison.headers
    return tuple(HeaderPair(suite, _pretty(old), _pretty(new)) for suite, (old, new) in headers.items())


def _pretty(header: Mapping[str, Any]) -> str:
    text = json.dumps(header, indent=2, sort_keys=True, ensure_ascii=False, default=str)
    return words.clip(text, MOST_OF_A_HEADER)

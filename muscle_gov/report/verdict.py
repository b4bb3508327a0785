"""The verdict as the page shows it: status, headline, rules worst first, exceptions and findings."""

from __future__ import annotations

from dataclasses import dataclass

from muscle_gov.data import Finding, Report, Verdict
from muscle_gov.report.bars import Stack, stack
from muscle_gov.report.exceptions import ExceptionsView, view_exceptions
from muscle_gov.report.headline import headline, main_figures
from muscle_gov.report.rules import RuleGroup, view_rules
from muscle_gov.report.status import STATUSES, StatusWords


@dataclass(frozen=True)
class VerdictView:
    status: StatusWords
    reason: str
    exit_code: str
    sentence: str
    more: tuple[str, ...]
    """Further sentences in plain words."""
    stack: Stack | None
    stack_name: str
    blocking: tuple[Finding, ...]
    rules: tuple[RuleGroup, ...]
    """By tier."""
    exceptions: ExceptionsView
    warnings: tuple[Finding, ...]
    notes: tuple[Finding, ...]


def view_verdict(report: Report) -> VerdictView:
    verdict, comparison = report.verdict, report.comparison
    sentence, more = headline(report)
    main = main_figures(comparison)
    return VerdictView(
        status=STATUSES[verdict.status],
        reason=verdict.reason,
        exit_code=str(verdict.exit_code),
        sentence=sentence,
        more=more,
        stack=stack(main) if main else None,
        stack_name="" if main is None or main.suite == "(all)" else main.suite,
        blocking=_of_level(verdict, "blocks"),
        rules=view_rules(verdict),
        exceptions=view_exceptions(verdict),
        warnings=_of_level(verdict, "warns"),
        notes=tuple(f for f in verdict.findings if f.level not in ("blocks", "warns")),
    )


def _of_level(verdict: Verdict, level: str) -> tuple[Finding, ...]:
    return tuple(f for f in verdict.findings if f.level == level)

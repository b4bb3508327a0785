"""The verdict as the page shows it: status, headline, rules worst first, exceptions and findings."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from muscle_gov.data import Finding, Report, RuleResult, Verdict
from muscle_gov.refusals import refused_words
from muscle_gov.report import words
from muscle_gov.report.bars import Stack, stack
from muscle_gov.report.exceptions import ExceptionsView, view_exceptions
from muscle_gov.report.headline import headline, main_figures
from muscle_gov.report.rules import RuleGroup, view_rules
from muscle_gov.report.status import STATUSES, StatusWords


@dataclass(frozen=True)
class VerdictView:
    status: StatusWords
    reason: str
    """Empty where the rest of the box says it."""
    is_explained: bool
    """Whether what forbids the comparison is listed below, so that the box says no more of it."""
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
    head, blocking = headline(report), _of_level(verdict, "blocks")
    main = main_figures(comparison)
    return VerdictView(
        status=STATUSES[verdict.status],
        reason=_reason(verdict, head.told),
        is_explained=bool(blocking),
        exit_code=str(verdict.exit_code),
        sentence=head.sentence,
        more=head.more,
        stack=stack(main) if main else None,
        stack_name="" if main is None or main.suite == "(all)" else main.suite,
        blocking=blocking,
        rules=view_rules(verdict),
        exceptions=view_exceptions(verdict),
        warnings=_of_level(verdict, "warns"),
        notes=tuple(f for f in verdict.findings if f.level not in ("blocks", "warns")),
    )


def _reason(verdict: Verdict, told: RuleResult | None) -> str:
    """The gate's, less what stands in the box already: the rule that the headline tells, and refused
    exceptions, which have a line of their own."""
    reason = verdict.reason
    for refused in refused_words(verdict.waivers, verdict.quarantined):
        reason = reason.replace(f"; {refused}", "")
    if told is not None and reason.startswith(told.reason):
        reason = re.sub(r"^( \(and \d+ more\))?(; )?", "", reason.removeprefix(told.reason))
    names = [*(r.suite for r in verdict.rules), *(f.suite or "" for f in verdict.findings)]
    return words.sentence(words.short_digests(reason), names)


def _of_level(verdict: Verdict, level: str) -> tuple[Finding, ...]:
    found = (f for f in verdict.findings if f.level == level)
    return tuple(replace(f, message=words.short_digests(f.message)) for f in found)

"""The report as GitHub-flavoured Markdown, for pull-request comments and step summaries.

Whatever comes from a log stands in a code span, the one place where a Markdown renderer makes no
link, mention, image, emoji, formula or HTML of it and still shows every character. Sentences are
treated word by word, so that only words that could be markup stand in spans. A report that is too
long is no report (GitHub refuses it whole), so it is written into a budget of bytes: each section may
take half of what is left, worst rows first, and says how many rows it had to leave out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

from muscle_gov import Flip, Report, hookimpl
from muscle_gov_plugins import _verdict_words as words
from muscle_gov_plugins._markdown_candidates import candidates
from muscle_gov_plugins._markdown_evidence import evidence, exceptions
from muscle_gov_plugins._markdown_figures import MARKS, figure, p_text, percent, value_of
from muscle_gov_plugins._markdown_text import Section, fit, prose, row, span, table

if TYPE_CHECKING:
    from muscle_gov.data import Finding, RuleResult, SuiteFigures, Verdict
    from muscle_gov.settings import Rule

LEAST_BUDGET = 8_000
"""Bytes that always hold the verdict, the sentence, the foot and each section's "N more" line."""
HARMFUL = {
    "negative": "right → wrong",
    "loss": "score fell",
    "wrong_to_wrong": "wrong → wrong otherwise",
}
_STATUS_ORDER = ("FAIL", "INCOMPARABLE", "INCONCLUSIVE", "NOT JUDGED", "PASS")
_LEVELS = ("blocks", "warns", "notes")
_NAME = 60
# Metrics of the columns Old, New, Change, Worse and Better.
_COLUMNS = {
    "binary": ("accuracy_old", "accuracy_new", "accuracy_delta", "nfr", "pfr"),
    "graded": ("score_old", "score_new", "score_delta", "regression_rate", "gain_rate"),
}


@hookimpl
def register_reports() -> dict[str, type]:
    return {"markdown": MarkdownReport}


@dataclass(frozen=True)
class MarkdownReport:
    """Markdown for a pull-request comment or a step summary: the verdict first, then the worst."""

    budget: int = 60_000
    """Most bytes of the whole file. A GitHub comment takes 65,536 characters, a step summary 1,048,576
    bytes."""
    flips: int = 20
    """How many of the worst flips to show."""
    slices: int = 20
    """How many slices to show."""
    chars: int = 240
    """How many characters of a prompt or an output to show."""

    suffix: ClassVar[str] = ".md"

    def __post_init__(self) -> None:
        if self.budget < LEAST_BUDGET:
            raise ValueError(f"budget: {self.budget} is too small; give at least {LEAST_BUDGET} bytes")
        for name, least in (("flips", 0), ("slices", 0), ("chars", 20)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: {getattr(self, name)} must be at least {least}")

    def render(self, report: Report) -> bytes:
        sections = [
            _rules(report.verdict),
            _findings(report.verdict.findings),
            _suites(report),
            candidates(report),
            _slices(report, self.slices),
            *exceptions(report.verdict),
            _flips(report, self.flips, self.chars),
            evidence(report.evidence),
        ]
        present = [section for section in sections if section.total or section.lead]
        return fit(_head(report), present, _foot(report), self.budget).encode()


# --------------------------------------------------------------------------------------- head, foot


def _head(report: Report) -> str:
    verdict, comparison = report.verdict, report.comparison
    status = verdict.status.value
    pairs = sum(figures.n_pairs for figures in comparison.suites)
    suites = len(comparison.suites)
    what = f"{span(comparison.new.name, _NAME)} against {span(comparison.old.name, _NAME)}"
    scope = f"{suites} {'suites' if suites != 1 else 'suite'}, {pairs:,} pairs"
    return (
        f"## {MARKS[status]} {status}\n\n**{status}:** {prose(verdict.reason)}\n\n"
        f"{what} on {scope}: {_changes(report)}.\n"
    )


def _changes(report: Report) -> str:
    """What happened to the answers, in the words of someone who never heard of flip rates."""
    counts = report.flip_counts
    kinds = {figures.kind for figures in report.comparison.suites}
    told = []
    if "binary" in kinds or counts.get("negative") or counts.get("positive"):
        told.append(f"{counts.get('negative', 0):,} answers that were right are now wrong")
        told.append(f"{counts.get('positive', 0):,} that were wrong are now right")
    if counts.get("wrong_to_wrong"):
        told.append(f"{counts['wrong_to_wrong']:,} stayed wrong in another way")
    if "graded" in kinds or counts.get("loss") or counts.get("gain"):
        told.append(f"{counts.get('loss', 0):,} scores fell")
        told.append(f"{counts.get('gain', 0):,} rose")
    return ", ".join(told) or "nothing was compared"


def _foot(report: Report) -> str:
    comparison, verdict = report.comparison, report.verdict
    facts = [
        f"exit code {verdict.exit_code}",
        f"comparison {span(comparison.id, _NAME)}",
        f"made {span(comparison.created, _NAME)}",
        f"muscle-gov {span(comparison.tool_version, _NAME)}",
    ]
    if verdict.policy_digest is not None:
        facts.append(f"policy {span(verdict.policy_digest, 80)}")
    if report.command is not None:
        facts.append(f"command {span(report.command, 200)}")
    if report.judged_by not in (None, report.command):
        facts.append(f"judged by {span(report.judged_by, 200)}")
    return "\n---\n\n" + " · ".join(facts) + "\n"


# ------------------------------------------------------------------------------------------ sections


def _rules(verdict: Verdict) -> Section:
    if not verdict.rules:
        lead = "No rule was applied, so nothing here says that the update may ship."
        return Section("Rules", (), 0, "rules", lead=lead)

    def badness(result: RuleResult) -> tuple[bool, int]:
        return result.rule.tier == "advisory", _STATUS_ORDER.index(result.status.value)

    ranked = sorted(verdict.rules, key=badness)
    head = table("Result", "Rule", "Where", "n", "Why", right=("n",))
    return Section("Rules", map(_rule_row, ranked), len(ranked), "rule results", head)


def _rule_row(result: RuleResult) -> str:
    place = words.where(result)
    status = result.status.value
    better, line = words.to_pass(result), words.line_of(result)
    # the line matters to whoever has to mend something
    at = f" ({span(f'{line[0]}:{line[1]}', 2 * _NAME)})" if line and status != "PASS" else ""
    return row(
        f"{MARKS[status]} {status}",
        rule_words(result.rule) + at,
        span(place, 2 * _NAME),
        f"{result.measure.n:,}" if result.measure else "∅",
        prose(result.reason.removeprefix(f"{place}: "))
        + (f" **To pass:** {prose(better)}" if better else ""),
    )


def rule_words(rule: Rule) -> str:
    """`NFR at most 5 %`, or the rule's own name, and its tier where that is not `critical`."""
    title = prose(words.rule_title(rule), 2 * _NAME)
    return title + ("" if rule.tier == "critical" else f" *({rule.tier})*")


def _findings(findings: Sequence[Finding]) -> Section:
    ranked = sorted(findings, key=lambda finding: _LEVELS.index(finding.level))

    def line(finding: Finding) -> str:
        where = f" ({prose(finding.suite, 2 * _NAME)})" if finding.suite else ""
        return f"- **{finding.level}** {span(finding.code, _NAME)}{where}: {prose(finding.message)}\n"

    return Section("Findings", map(line, ranked), len(ranked), "findings")


def _suites(report: Report) -> Section:
    comparison = report.comparison
    listed = [*comparison.suites, *([comparison.total] if comparison.total else [])]
    noisy = any(value_of(figures, "noise_floor") is not None for figures in listed)
    names = ["Suite", "Pairs", "Coverage", "Old", "New", "Change", "Worse", "Better"]
    names += ["Noise floor"] if noisy else []
    names.append("p")
    lead = (
        f"In brackets: {100 * comparison.confidence:.4g} % intervals. Worse is the negative flip rate "
        "(NFR), or the share of scores that fell; Better the reverse. p is of “no net change”, after "
        "Holm over the suites; that of all suites pooled is as it is."
    )
    head = table(*names, right=names[1:])
    rows = (_suite_row(figures, noisy) for figures in listed)
    return Section("Suites", rows, len(listed), "suites", head, lead)


def _suite_row(figures: SuiteFigures, noisy: bool) -> str:
    old, new, change, worse, better = _COLUMNS[figures.kind]
    coverage = f"{percent(figures.coverage)} %"
    return row(
        span(figures.suite, 2 * _NAME),
        f"{figures.n_pairs:,}",
        coverage,
        *(figure(figures, name) for name in (old, new, change, worse, better)),
        *([figure(figures, "noise_floor")] if noisy else []),
        p_text(figures.p_value if figures.p_adjusted is None else figures.p_adjusted),
    )


def _slices(report: Report, most: int) -> Section:
    comparison = report.comparison
    level = 1 - comparison.confidence
    found = [s for s in comparison.slices if s.p_adjusted is not None and s.p_adjusted <= level]

    def badness(figures: SuiteFigures) -> tuple[float, int]:
        worse = _COLUMNS[figures.kind][3]
        return -(value_of(figures, worse) or 0.0), -figures.n_pairs

    ranked = sorted(comparison.slices, key=badness)
    lead = (
        "Explored, not planned: those with the most broken answers first. The net change of "
        f"{len(found):,} of the {len(comparison.slices):,} slices is significant (two-sided "
        f"{level:.2g}, after Benjamini-Hochberg over all slices)."
    )
    head = table(
        "Slice", "Suite", "Pairs", "Change", "Worse", "p", right=("Pairs", "Change", "Worse", "p")
    )
    rows = map(_slice_row, ranked[:most])
    return Section("Slices", rows, len(ranked), "slices", head, lead if comparison.slices else "")


def _slice_row(figures: SuiteFigures) -> str:
    _, _, change, worse, _ = _COLUMNS[figures.kind]
    return row(
        span(figures.slice, 2 * _NAME),
        span(figures.suite, 2 * _NAME),
        f"{figures.n_pairs:,}",
        figure(figures, change),
        figure(figures, worse),
        p_text(figures.p_adjusted),
    )


def _flips(report: Report, most: int, chars: int) -> Section:
    total = sum(report.flip_counts.get(kind, 0) for kind in HARMFUL)
    harmful = (flip for flip in report.flips if flip.kind in HARMFUL)
    # stopping at the last one there is spares reading all that got better
    rows = (_flip_lines(flip, chars) for flip in islice(harmful, min(most, total)))
    return Section("Worst flips", rows, total, "flips")


def _flip_lines(flip: Flip, chars: int) -> str:
    def answered(answer: str | None, output: str | None) -> str:
        if answer is None or output is None or answer == output:
            return span(output if answer is None else answer, chars)
        return f"{span(answer, chars)} from {span(output, chars)}"

    lines = [f"- **{HARMFUL[flip.kind]}** · {span(flip.suite, 2 * _NAME)} · {span(flip.key, 2 * _NAME)}"]
    if flip.prompt is not None:
        # the question stands at the end, behind instructions and examples
        lines.append(f"  - asked: {span(flip.prompt, chars, tail=True)}")
    if flip.new_prompt is not None:
        lines.append(f"  - the new model was asked: {span(flip.new_prompt, chars, tail=True)}")
    if flip.target is not None:
        lines.append(f"  - wanted: {span(flip.target, chars)}")
    for side, score, answer, output in (
        ("old", flip.old_score, flip.old_answer, flip.old_output),
        ("new", flip.new_score, flip.new_answer, flip.new_output),
    ):
        scored = f" ({score:.4g})" if flip.kind == "loss" and score is not None else ""
        lines.append(f"  - {side}{scored}: {answered(answer, output)}")
    if flip.waived is not None:
        lines.append(f"  - waived: {prose(flip.waived)}")
    return "\n".join(lines) + "\n"

"""The verdict as the terminal shows it: rules, what was set aside or refused, and the last line.

Exceptions are shown whatever is asked for: a verdict that rests on one must not be read without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from muscle_gov.cli._style import LEVELS, SIGNS, STYLES, WORST_FIRST, styled
from muscle_gov.explain import is_undecided
from muscle_gov.refusals import applied_words, refused_words
from muscle_gov.text import one_line, visible

if TYPE_CHECKING:
    from rich.console import Console

    from muscle_gov.data import Report, RuleResult

MOST_OF_A_LINE = 400
"""Characters of what others wrote that one line shows."""
_WORDS = {
    "FAIL": ("fails", "fail"),
    "INCOMPARABLE": ("cannot be compared", "cannot be compared"),
    "INCONCLUSIVE": ("is undecided", "are undecided"),
    "NOT JUDGED": ("is not judged", "are not judged"),
    "PASS": ("holds", "hold"),
}
"""What is said of one rule, and of several."""


def show_verdict(out: Console, report: Report, explain: bool) -> None:
    """Each rule, each exception, and the verdict; with `explain` what would make each rule pass."""
    _show_rules(out, report.verdict.rules, explain)
    _show_exceptions(out, report)
    _show_conclusion(out, report)


def _show_exceptions(out: Console, report: Report) -> None:
    """Every waiver and quarantine entry; and what is warned of about them, even if asked to be quiet."""
    for waived in report.verdict.waivers:
        waiver = waived.waiver
        what = waiver.instance or waiver.slice
        flips = "1 flip" if waived.flips == 1 else f"{waived.flips} flips"
        words = f"waiver {waived.status}: {waiver.suite} {what}, {flips}"
        words += f" ({waiver.reason}; {waiver.owner}, until {waiver.expires})"
        out.print(styled(one_line(words, MOST_OF_A_LINE), _applied_style(waived.status)))
    for kept in report.verdict.quarantined:
        entry = kept.quarantine
        words = f"quarantine {kept.status}: {entry.suite} {entry.instance}, "
        words += "1 other answer" if kept.seen == 1 else f"{kept.seen} other answers"
        words += f" ({entry.reason}; {entry.owner}, until {entry.expires})"
        out.print(styled(one_line(words, MOST_OF_A_LINE), _applied_style(kept.status)))
    for finding in report.verdict.findings[len(report.comparison.findings) :]:
        sign, style = LEVELS[finding.level]
        where = f"{finding.suite}: " if finding.suite else ""
        out.print(styled(f"{sign} {one_line(where + finding.message, MOST_OF_A_LINE)}", style))


def _applied_style(status: str) -> str:
    return "" if status == "applied" else "yellow"


def _show_conclusion(out: Console, report: Report) -> None:
    """The last line. Rules have told their reasons above it, so it counts them."""
    verdict = report.verdict
    status = verdict.status.value
    deciding = [r for r in verdict.rules if r.rule.tier != "advisory"]
    blocked = any(f.level == "blocks" for f in verdict.findings)
    words = verdict.reason
    if deciding and not blocked:
        words = "; ".join(
            [
                _counted(deciding),
                *_undecided(deciding),
                *applied_words(verdict.waivers, verdict.quarantined),
                *refused_words(verdict.waivers, verdict.quarantined),
            ]
        )
    text = f"{visible(words)} (exit code {verdict.exit_code})"
    out.print(styled(f"verdict: {SIGNS[status]} {status}", STYLES[status]), styled(text))


def _counted(deciding: Sequence[RuleResult]) -> str:
    """1 of 9 rules fails, 2 undecided, 6 hold"""
    counts = Counter(result.status.value for result in deciding)
    total = f"{len(deciding):,} rule{'' if len(deciding) == 1 else 's'}"
    told: list[str] = []
    for status in sorted(counts, key=WORST_FIRST.index):
        n = counts[status]
        said = _WORDS[status][n != 1]
        # the first one says how many rules there are, and has the verb of those behind it
        short = said.removeprefix("is ").removeprefix("are ")
        told.append(f"{n:,} {short}" if told else f"{n:,} of {total} {said}")
    return ", ".join(told)


def _undecided(deciding: Sequence[RuleResult]) -> list[str]:
    n = sum(r.rule.tier == "supporting" and is_undecided(r) for r in deciding)
    return [f"{n} supporting undecided"] if n else []


def _show_rules(out: Console, rules: Sequence[RuleResult], explain: bool) -> None:
    # stable, so rules of one status stay in the policy's order
    for result in sorted(rules, key=lambda result: WORST_FIRST.index(result.status.value)):
        status = result.status.value
        tier = "" if result.rule.tier == "critical" else f" ({result.rule.tier})"
        out.print(
            styled(f"{SIGNS[status]} {status:<12}", STYLES[status]),
            styled(visible(result.reason) + tier),
        )
        if explain and result.explanation is not None:
            said = result.explanation
            place = f"  ({visible(result.place)})" if result.place else ""
            out.print(styled(f"    why: {visible(said.why)}{place}", "dim"))
            if said.to_pass is not None:
                out.print(styled(f"    to pass: {visible(said.to_pass)}"))

"""What the terminal says of a verdict: the worst rule first, and a last line that is a sentence."""

from __future__ import annotations

import io

import pytest
from report_samples import report, rule_result, verdict
from rich.console import Console

from muscle_gov.cli._verdict import show_verdict
from muscle_gov.data import RuleResult, Status

PASS, FAIL, OPEN, APART = Status.PASS, Status.FAIL, Status.INCONCLUSIVE, Status.INCOMPARABLE


def shown(status: Status, *rules: RuleResult) -> list[str]:
    out = Console(file=io.StringIO(), width=200, color_system=None)
    made = report(verdict=verdict(status, rules=rules, waivers=(), quarantined=(), findings=()))
    show_verdict(out, made, explain=False)
    text = out.file.getvalue()  # type: ignore[attr-defined]
    return [line for line in text.splitlines() if line]


@pytest.mark.parametrize(
    ("statuses", "told"),
    [
        ([PASS], "1 of 1 rule holds"),
        ([PASS] * 3, "3 of 3 rules hold"),
        ([FAIL], "1 of 1 rule fails"),
        ([PASS] * 6 + [OPEN, FAIL, OPEN], "1 of 9 rules fails, 2 undecided, 6 hold"),
        ([PASS, FAIL, FAIL], "2 of 3 rules fail, 1 holds"),
        ([OPEN], "1 of 1 rule is undecided"),
        ([PASS, OPEN, OPEN], "2 of 3 rules are undecided, 1 holds"),
        ([PASS, APART, FAIL], "1 of 3 rules fails, 1 cannot be compared, 1 holds"),
        ([APART, APART, OPEN], "2 of 3 rules cannot be compared, 1 undecided"),
    ],
)
def test_the_last_line_counts_the_rules_the_worst_first(statuses: list[Status], told: str) -> None:
    *_, last = shown(FAIL, *map(rule_result, statuses))
    assert last == f"verdict: ✗ FAIL {told} (exit code 1)"


def test_rules_are_listed_worst_first_and_otherwise_as_in_the_policy() -> None:
    given = [(PASS, "a"), (OPEN, "b"), (FAIL, "c"), (APART, "d"), (PASS, "e"), (FAIL, "f")]
    lines = shown(FAIL, *(rule_result(status, suite) for status, suite in given))[:-1]
    assert [line.split(":")[0].split()[-1] for line in lines] == ["c", "f", "d", "b", "a", "e"]


def test_advisory_rules_are_shown_and_not_counted() -> None:
    lines = shown(PASS, rule_result(PASS), rule_result(FAIL, "other", tier="advisory"))
    assert lines[0].startswith("✗ FAIL")
    assert lines[0].endswith("(advisory)")
    assert lines[-1] == "verdict: ✓ PASS 1 of 1 rule holds (exit code 0)"

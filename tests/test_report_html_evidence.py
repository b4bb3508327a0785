"""The HTML report: what was left out, what could not be seen, evidence, sign-off."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers import compare
from html_tree import section, tree
from report_samples import (
    comparison,
    counted,
    evidence,
    report,
    rule_result,
    verdict,
)

from muscle_gov import stats
from muscle_gov.data import Report, Status
from muscle_gov.settings import Rule

# ------------------------------------------------------------------------------------------ methods


def test_what_was_left_out_adds_up() -> None:
    made = compare("RRRWWWUE.U", "RW.RWUWRR.")
    shown = section(tree(Report(made.verdict, made.comparison, made.flips, {})), "methods")
    (row,) = shown.one("table", data_table="left-out").all("tr")[1:]
    seen, *causes, pairs, _, waived, quarantined = (cell.text for cell in row.all("td"))
    assert (seen, causes, pairs) == ("10", ["3", "1", "2"], "4")
    assert int(seen) == sum(map(int, causes)) + int(pairs)
    assert (waived, quarantined) == ("0", "0")


def test_waived_flips_and_quarantined_items_are_counted_by_suite() -> None:
    rows = section(tree(report()), "methods").one("table", data_table="left-out").all("tr")[1:]
    counts = {row.one("th").text: [cell.text for cell in row.all("td")[-2:]] for row in rows}
    assert counts == {"All suites pooled": ["1", "1"], "maths": ["1", "0"], "reading": ["0", "1"]}


def test_power_says_what_no_flip_would_leave_open_and_how_many_pass() -> None:
    suite = counted("maths", 600, 400, 20, 30)
    rules = (rule_result(suite="maths"), rule_result(suite="maths", rule=Rule(metric="nfr", max=0.2)))
    given = report(comparison=comparison(suites=(suite,), total=None), verdict=verdict(rules=rules))
    (row,) = section(tree(given), "methods").one("table", data_table="power").all("tr")[1:]
    exact = float(row.one("td", data_metric="ruled_out").one("data").attributes["value"])
    assert exact == pytest.approx(1 - 0.05 ** (1 / 600))
    assert row.one("td", data_metric="ruled_out").text == "0.5 %"
    assert row.one("td", data_metric="allowed").text == "20"
    # twenty flips of 600 pass a limit of 5 %, and one more does not
    assert stats.clopper_pearson(20, 600, 0.9)[1] <= 0.05 < stats.clopper_pearson(21, 600, 0.9)[1]
    assert float(row.one("td", data_metric="mde").one("data").attributes["value"]) == suite.mde


def test_a_suite_too_small_for_its_limit_says_that_not_even_none_would_pass() -> None:
    suite = counted("maths", 20, 15, 1, 1)
    given = report(
        comparison=comparison(suites=(suite,), total=None), verdict=verdict(rules=(rule_result(),))
    )
    (row,) = section(tree(given), "methods").one("table", data_table="power").all("tr")[1:]
    assert row.one("td", data_metric="allowed").text == "not even 0"


def test_whatever_is_judged_is_defined() -> None:
    assert "number of listed instances with right→wrong" in section(tree(report()), "methods").text


# ----------------------------------------------------------------------------------------- evidence


def test_the_sql_of_each_figure_stands_with_its_value() -> None:
    shown = section(tree(report()), "evidence")
    queries = shown.all("details", css="query")
    for node, query in zip(queries, evidence().queries, strict=True):
        assert query.title in node.one("summary").text
        assert node.one("pre").raw == f"\n{query.sql}"
        assert node.one("data").attributes["value"] == repr(query.value)
    assert "duckdb -readonly runs.duckdb" in shown.text


def test_many_digests_and_queries_are_folded_and_all_there() -> None:
    proof = evidence()
    resources = tuple(replace(proof.resources[0], name=f"log {i}", kind="log") for i in range(114))
    queries = tuple(replace(proof.queries[0], title=f"NFR of {i}") for i in range(290))
    many = replace(proof, resources=resources, queries=queries)
    shown = section(tree(report(evidence=many)), "evidence")
    assert len(shown.all("details", css="query")) == 290
    assert "280 further queries" in shown.text
    assert "Logs: 102 further digests" in shown.text
    assert sum(len(t.all("th", scope="row")) for t in shown.all("table", css="digests")) == 114


def test_digests_stand_in_full_with_what_they_are_of() -> None:
    text = section(tree(report()), "evidence").one("table", css="digests").text
    for resource in evidence().resources:
        assert resource.digest in text
        assert resource.name in text
    assert "Predictions maths, oldside old, suite maths, rows 100" in text


@pytest.mark.parametrize(
    ("command", "judged_by", "expected"),
    [
        ("a", "b", {"Compared by": "a", "Judged by": "b"}),
        ("a", "a", {"Compared and judged by": "a"}),
        ("a", None, {"Compared by": "a", "Judged by": "not recorded"}),
        (None, None, {"Compared by": "not recorded", "Judged by": "not recorded"}),
    ],
)
def test_the_command_that_judged_is_told_beside_the_one_that_compared(
    command: str | None, judged_by: str | None, expected: dict[str, str]
) -> None:
    def told(given: Report) -> dict[str, str]:
        facts = section(tree(given), "evidence").one("dl", css="evidence").all("div")
        pairs = {fact.one("dt").text: fact.one("dd").text for fact in facts}
        return {name: text for name, text in pairs.items() if name.endswith(" by")}

    given = report(command=command, judged_by=judged_by)
    assert told(given) == expected
    if judged_by is None:
        unjudged = replace(given, verdict=replace(given.verdict, policy_digest=None))
        assert told(unjudged) == {"Compared by": expected["Compared by"]}


def test_versions_command_and_moments_are_told() -> None:
    text = section(tree(report()), "evidence").text
    for part in ("DuckDB 1.4.0", "Python 3.11.9", "muscle-gov compare old new", "2026-01-01 12:00 UTC"):
        assert part in text


def test_a_report_without_evidence_says_so_and_how_to_get_it() -> None:
    shown = section(tree(report(evidence=None)), "evidence")
    assert "were not collected for this report" in shown.text
    assert "muscle-gov report 20260101-abc123" in shown.text
    assert not shown.all("pre", css="sql")


# ----------------------------------------------------------------------------------------- sign-off


def test_the_sign_off_names_what_is_signed_and_leaves_the_rest_to_a_pen() -> None:
    shown = section(tree(report()), "signoff")
    for part in ("20260101-abc123", "FAIL", "c0c0c0c0c0c0…", "maths, old b0b0b0b0b0b0…", "old-model"):
        assert part in shown.text
    for label in ("Name", "Role", "Decision", "Conditions", "Date", "Signature"):
        assert len([dt for dt in shown.all("dt") if dt.text == label]) == 2
    for choice in ("Approve", "Reject", "Approve with these conditions"):
        assert choice in [node.text for node in shown.all("span", css="choice")]
    fillable = ("input", "textarea", "select", "button", "form")
    assert not [n for n in shown.walk() if n.tag in fillable or "contenteditable" in n.attributes]


@pytest.mark.parametrize("status", list(Status))
def test_only_a_pass_may_be_approved_without_a_word(status: Status) -> None:
    shown = section(tree(report(verdict=verdict(status))), "signoff")
    cautions = shown.all("p", css="caution")
    assert bool(cautions) is (status is not Status.PASS)


def test_many_predictions_are_cut_in_the_sign_off_and_counted() -> None:
    proof = evidence()
    (one, *_) = [r for r in proof.resources if r.kind == "predictions"]
    many = tuple(replace(one, name=f"suite {i}") for i in range(114))
    shown = section(tree(report(evidence=replace(proof, resources=many))), "signoff")
    assert "106 further digests of predictions stand under Evidence" in shown.text
    assert "new-model f1" in shown.text

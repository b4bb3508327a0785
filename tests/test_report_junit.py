"""The JUnit report: by the schema, with right counts, and never greener than the verdict."""

from __future__ import annotations

import io
import itertools
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import junitparser
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from muscle_gov_plugins.report_junit import FINDINGS, JunitReport
from report_samples import (
    HOSTILE,
    CountedFlips,
    comparison,
    figures,
    flip,
    hostile_report,
    listed_result,
    measure,
    report,
    rule_result,
    verdict,
)

from muscle_gov.data import AppliedWaiver, Finding, Report, Status
from muscle_gov.plugins import build
from muscle_gov.settings import Rule, Waiver

Element = ElementTree.Element

XSD = etree.XMLSchema(etree.parse(Path(__file__).parent / "schemas" / "junit.xsd"))
RESULTS = ("failure", "error", "skipped")


def check(text: bytes) -> None:
    """Fail where the file, or anything in it, breaks the schema."""
    XSD.assertValid(etree.fromstring(text, etree.XMLParser(resolve_entities=False, huge_tree=True)))


def check_counts(element: Element) -> None:
    """The numbers in the head of a suite, and of all, are those of the cases in it."""
    found = Counter({"tests": len(list(element.iter("testcase")))})
    for case in element.iter("testcase"):
        found.update(child.tag for child in case if child.tag in RESULTS)
    told = {name: int(element.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    assert told == {
        "tests": found["tests"],
        "failures": found["failure"],
        "errors": found["error"],
        "skipped": found["skipped"],
    }
    for suite in element.iter("testsuite"):
        if suite is not element:
            check_counts(suite)


def written(given_: Report, **options: int) -> Element:
    text = JunitReport(**options).render(given_)
    root = ElementTree.fromstring(text.decode("utf-8", "strict"))
    assert root.tag == "testsuites"
    check(text)
    check_counts(root)
    return root


def suite_of(root: Element, name: str) -> Element:
    (found,) = (suite for suite in root if suite.attrib["name"] == name)
    return found


def outcomes(element: Element) -> dict[str, str]:
    """Case → `passed`, `failure`, `error` or `skipped`."""
    cases = list(element.iter("testcase"))
    found = {
        case.attrib["name"]: next((c.tag for c in case if c.tag in RESULTS), "passed") for case in cases
    }
    assert len(found) == len(cases), "two cases of one name"
    return found


# ------------------------------------------------------------------------------- what the cases say


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (Status.PASS, "passed"),
        (Status.FAIL, "failure"),
        (Status.INCONCLUSIVE, "skipped"),
        (Status.INCOMPARABLE, "error"),
        (Status.NOT_JUDGED, "skipped"),
    ],
)
def test_each_status_of_a_rule_has_its_element_and_says_why(status: Status, outcome: str) -> None:
    root = written(report(verdict=verdict(status, rules=(rule_result(status),))))
    suite = suite_of(root, "maths")
    assert outcomes(suite) == {"NFR at most 5 %": outcome}
    if outcome != "passed":
        (element,) = suite.iter(outcome)
        assert element.attrib["message"] == "maths: nfr is 0.1; the policy allows at most 0.05"
        assert element.attrib["type"] == status.value


def test_one_suite_a_suite_and_one_for_findings() -> None:
    root = written(report())
    assert [suite.attrib["name"] for suite in root] == [FINDINGS, "maths", "reading", "(all)"]
    assert outcomes(suite_of(root, "maths")) == {
        "NFR at most 5 %": "failure",
        "must not regress: refusals": "passed",
    }
    assert outcomes(suite_of(root, "reading")) == {"NFR at most 5 %": "passed"}
    assert outcomes(suite_of(root, "(all)")) == {}


def test_a_rule_that_matched_no_suite_has_a_suite_of_its_own() -> None:
    result = replace(rule_result(Status.INCONCLUSIVE, "code*"), measure=None, p_breach=None)
    root = written(report(verdict=verdict(Status.INCONCLUSIVE, rules=(result,))))
    assert outcomes(suite_of(root, "code*")) == {"NFR at most 5 %": "skipped"}


def test_cases_of_one_suite_are_told_apart() -> None:
    results = (
        rule_result(),
        rule_result(),
        rule_result(slice="subject=sums"),
        replace(rule_result(), rule=Rule(metric="accuracy_new", min=0.7, tier="supporting")),
        replace(rule_result(), rule=Rule(metric="nfr", max=0.1, name="no worse than noise")),
    )
    root = written(report(verdict=verdict(rules=results)))
    assert list(outcomes(suite_of(root, "maths"))) == [
        "NFR at most 5 %",
        "NFR at most 5 % #2",
        "NFR at most 5 % [subject=sums]",
        "Accuracy, new at least 70 % (supporting)",
        "no worse than noise",
    ]


def test_what_blocks_is_an_error_and_the_rest_is_talk() -> None:
    found = (
        Finding("prompt-changed", "blocks", "3 of 9 pairs were asked with other prompts", "maths"),
        Finding("prompt-changed", "blocks", "4 of 9 pairs were asked with other prompts", "maths"),
        Finding("unpaired", "warns", "1 of 9 instances are in one log only", "maths"),
    )
    waiver = AppliedWaiver(Waiver("maths", "known", "Kim", "2026-12-31", instance="7"), 1, "applied")
    told = verdict(Status.INCOMPARABLE, findings=found, waivers=(waiver,), quarantined=())
    suite = suite_of(written(report(verdict=told)), FINDINGS)
    assert outcomes(suite) == {
        "prompt-changed in maths": "error",
        "prompt-changed in maths #2": "error",
    }
    assert suite.findtext("system-out") == (
        "warns unpaired (maths): 1 of 9 instances are in one log only\n"
        "waiver applied: maths 7, 1 flip, Kim, until 2026-12-31: known"
    )


def test_without_rules_one_skipped_case_says_not_judged() -> None:
    told = verdict(Status.NOT_JUDGED, rules=(), reason="no rule was given, so nothing was judged")
    root = written(report(verdict=told))
    assert outcomes(root) == {"not judged": "skipped"}
    (element,) = root.iter("skipped")
    assert element.attrib["message"] == "not judged: no rule was given, so nothing was judged"


def test_an_advisory_rule_that_failed_is_skipped_and_not_failed() -> None:
    results = (rule_result(Status.PASS), rule_result(Status.FAIL, tier="advisory"))
    root = written(report(verdict=verdict(Status.PASS, rules=results)))
    assert list(outcomes(root).values()) == ["passed", "skipped"]
    (element,) = root.iter("skipped")
    assert element.attrib["message"].startswith("advisory, decides nothing: ")


SOME_RULES = [
    tuple(rule_result(status, tier=tier) for status, tier in chosen)
    for n in (0, 1, 2)
    for chosen in itertools.combinations(itertools.product(Status, ("critical", "advisory")), n)
]


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("blocks", [False, True])
def test_the_cases_never_look_better_than_the_verdict(status: Status, blocks: bool) -> None:
    findings = (Finding("prompt-changed", "blocks", "changed", "maths"),) if blocks else ()
    needed = {"FAIL": "failure", "INCOMPARABLE": "error"}.get(status.value, "skipped")
    for rules in SOME_RULES:
        root = written(report(verdict=verdict(status, rules=rules, findings=findings), flips=()))
        found = set(outcomes(root).values())
        deciding = {result.status for result in rules if result.rule.tier == "critical"}
        if status != Status.PASS:
            assert found & {needed, "failure", "error"}
        elif not deciding:
            assert found != {"passed"}
            assert found
        if status == Status.PASS and deciding <= {Status.PASS} and not blocks:
            assert not found & {"failure", "error"}


def test_the_figures_of_a_suite_are_its_properties() -> None:
    broken = replace(measure(None), method="undefined: no repeats")
    lone = figures("maths")
    lone = replace(lone, measures={"nfr": measure(0.1), "noise_floor": broken})
    suite = suite_of(written(report(comparison=comparison(suites=(lone,)))), "maths")
    told = {one.attrib["name"]: one.attrib["value"] for one in suite.iter("property")}
    assert told == {
        "kind": "binary",
        "pairs": "100",
        "coverage": "1",
        "p": "0.03 (exact McNemar)",
        "p_adjusted": "0.04",
        "nfr": "0.1 [0.08, 0.12], n=100, Clopper-Pearson",
        "noise_floor": "undefined: no repeats",
    }
    assert suite.attrib["timestamp"] == "2026-01-01T12:00:00"


def test_the_run_is_described_where_findings_are() -> None:
    suite = suite_of(written(report()), FINDINGS)
    told = {one.attrib["name"]: one.attrib["value"] for one in suite.iter("property")}
    assert (told["verdict"], told["exit_code"]) == ("FAIL", "1")
    assert (told["old"], told["new"]) == ("old-model", "new-model")
    assert told["policy_digest"] == "c0" * 32
    assert (told["waivers_applied"], told["waivers_refused"]) == ("1", "3")
    assert (told["quarantine_applied"], told["quarantine_refused"]) == ("1", "1")


def test_refused_exceptions_and_flaky_items_are_told_with_why_and_whose() -> None:
    told = suite_of(written(report()), FINDINGS).findtext("system-out") or ""
    lines = told.splitlines()
    assert lines[1:3] == [
        "waiver applied: maths 7, 1 flip, data owner, until 2026-12-31: the key of this question is "
        "wrong",
        "waiver refused (expired: its last day is over): maths 8, 0 flips, data owner, until "
        "2025-12-31: known since the last release",
    ]
    assert [re.match(r"[^:]*", line)[0] for line in lines[3:]] == [  # type: ignore[index]
        "waiver refused (unmatched",
        "waiver refused (over-broad",
        "quarantine applied",
        "quarantine refused (not-flaky",
    ]


def test_a_list_that_must_not_regress_is_a_case_by_its_name_and_counts() -> None:
    root = written(report(verdict=verdict(rules=(listed_result(Status.FAIL),))))
    assert outcomes(suite_of(root, "maths")) == {"must not regress: refusals": "failure"}
    (element,) = root.iter("failure")
    assert element.attrib["message"] == "maths: 2 of 12 listed instances regressed; none may"
    assert "measured: 2, n=12, counted" in (element.text or "")


def test_a_case_names_the_line_of_its_rule_in_the_policy() -> None:
    rules = (rule_result(), rule_result(place=None), rule_result(place="policy.toml"))
    cases = list(written(report(verdict=verdict(rules=rules))).iter("testcase"))
    told = [(case.get("file"), case.get("line")) for case in cases]
    assert told == [("policy.toml", "4"), (None, None), (None, None)]


TIERS = ("critical", "supporting", "advisory")
ELEMENTS = {
    Status.PASS: "passed",
    Status.FAIL: "failure",
    Status.INCONCLUSIVE: "skipped",
    Status.INCOMPARABLE: "error",
    Status.NOT_JUDGED: "skipped",
}


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("status", list(Status))
def test_every_status_of_every_tier_has_its_element(status: Status, tier: str) -> None:
    wanted = ELEMENTS[status]
    if tier == "advisory" and wanted != "passed":
        wanted = "skipped"
    root = written(report(verdict=verdict(status, rules=(rule_result(status, tier=tier),), findings=())))
    assert list(outcomes(suite_of(root, "maths")).values()) == [wanted]


@pytest.mark.parametrize(
    "damage",
    [
        lambda case: case.set("time", "0.12345"),
        lambda case: case.set("metric", "nfr"),
        lambda case: case.insert(0, etree.Element("properties")),
        lambda case: case.append(etree.Element("failure")),
        lambda case: case.attrib.pop("name"),
        lambda case: case.getparent().attrib.pop("tests"),
        lambda case: case.getparent().set("timestamp", "2026-01-01T12:00:00Z"),
        lambda case: case.getparent().append(etree.Element("properties")),
    ],
)
def test_the_schema_refuses_what_ci_servers_refuse(damage: Any) -> None:
    root = etree.fromstring(JunitReport().render(report()))
    assert XSD.validate(root)
    damage(next(root.iter("failure")).getparent())
    assert not XSD.validate(root)


# -------------------------------------------------------------------------------------------- flips


def failure_text(given_: Report, **options: int) -> str:
    (element,) = written(given_, **options).iter("failure")
    return element.text or ""


def test_a_failed_rule_lists_the_worst_flips_of_its_suite() -> None:
    flips = (
        flip(1, waived="known"),
        flip(2, suite="reading"),
        flip(3),
        flip(4, kind="positive"),
        flip(5, old_answer=None, target=None),
        flip(6),
    )
    text = failure_text(report(flips=flips), flips=2)
    assert text.splitlines() == [
        "maths: nfr is 0.1; the policy allows at most 0.05",
        "measured: 0.1 [0.08, 0.12], n=100, Clopper-Pearson",
        "p that the limit is kept: 0.01",
        "10 of 100 pairs flipped; the policy allows 5 % and the bound is 16.4 %",
        "to pass: at most 1 flip of 100 pairs would pass",
        "worst flips:",
        "  maths 3 negative: 4 → 5 (wanted 4)",
        "  maths 5 negative: It is 4. → 5 (wanted ∅)",
    ]


def test_a_failed_slice_lists_flips_of_the_slice_and_all_suites_those_of_all() -> None:
    flips = (flip(1), flip(2, tags={"subject": "powers"}), flip(3, suite="reading", tags={}))
    sliced = verdict(rules=(rule_result(slice="subject=powers"),))
    assert re.findall(r"^  (\S+ \d)", failure_text(report(verdict=sliced, flips=flips)), re.M) == [
        "maths 2"
    ]
    whole = verdict(rules=(rule_result(suite="(all)"),))
    found = re.findall(r"^  (\S+ \d)", failure_text(report(verdict=whole, flips=flips)), re.M)
    assert found == ["maths 1", "maths 2", "reading 3"]


def test_no_more_flips_are_read_than_are_listed() -> None:
    flips = CountedFlips(tuple(flip(n) for n in range(1000)), [])
    written(report(flips=flips), flips=3)
    assert len(flips.reads) == 3


@pytest.mark.parametrize("status", [Status.PASS, Status.INCONCLUSIVE])
def test_where_nothing_failed_no_flip_is_read(status: Status) -> None:
    flips = CountedFlips((flip(1),), [])
    written(report(verdict=verdict(status, rules=(rule_result(status),)), flips=flips))
    assert flips.reads == []


# ---------------------------------------------------------------------------------- hostile content

FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
HIDDEN = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b\ufeff]")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text_and_is_seen(text: str) -> None:
    root = written(hostile_report(text))
    everything = JunitReport().render(hostile_report(text)).decode()
    assert FORBIDDEN.search(everything) is None
    assert HIDDEN.search(everything) is None
    assert len(list(root.iter("testcase"))) == 4
    assert root[0].attrib["name"] == FINDINGS
    if re.fullmatch("[ -~]+", text):
        told = {one.attrib["name"]: one.attrib["value"] for one in root[0].iter("property")}
        assert (told["old"], told["reason"]) == (text, f"{text}: {text}")
        (first, _) = root.iter("failure")
        flat = " ".join(text.split())
        line = f"  {flat} {flat} negative: {flat} → {flat} (wanted {flat})"
        assert len(flat) > 80 or line in (first.text or "")


@given(st.text(alphabet=st.characters()))
def test_any_text_gives_xml_that_every_reader_reads(text: str) -> None:
    written(hostile_report(text))
    bytes_ = JunitReport().render(hostile_report(text))
    parsed = junitparser.JUnitXml.fromstring(bytes_)
    assert (parsed.tests, parsed.failures, parsed.errors, parsed.skipped) == (4, 2, 1, 0)


def test_lines_of_megabytes_are_cut() -> None:
    huge = "日\x1b<&\n" * 250_000
    made = report(flips=(flip(key=huge, old_answer=huge, target=huge),))
    assert len(JunitReport().render(made)) < 10_000
    assert "␛" in failure_text(made)


def test_a_moment_that_is_none_is_left_out() -> None:
    root = written(report(comparison=comparison(created="yesterday")))
    assert "timestamp" not in root[0].attrib


# ------------------------------------------------------------------------------------------ sameness


def test_equal_reports_give_equal_bytes_whatever_the_order_of_their_mappings() -> None:
    turned = figures("maths")
    turned = replace(turned, measures=dict(sorted(turned.measures.items(), reverse=True)))
    again = report(comparison=comparison(suites=(turned, *comparison().suites[1:])))
    assert again == report()
    assert JunitReport().render(again) == JunitReport().render(report())


def test_a_negative_number_of_flips_is_refused_in_one_sentence() -> None:
    problems: list[str] = []
    assert build(JunitReport, {"flips": -1}, problems) is None
    assert len(problems) == 1
    assert "flips: -1 must be at least 0" in problems[0]


def test_real_logs_fail_where_the_gate_does(real_logs: Path) -> None:
    from muscle_gov import pipeline, plugins
    from muscle_gov.settings import CompareSettings, Gate, ImportSettings, Policy, Source
    from muscle_gov.store import open_store

    base = real_logs / "lm_eval_toy_dev"
    old, new = (Source(p, ImportSettings()) for p in sorted(p for p in base.iterdir() if p.is_dir()))
    policy = Policy(Gate((Rule(metric="nfr", max=0.05),)))
    with open_store(":memory:") as store:
        judged: Any = pipeline.compare_logs(store, plugins.load(), old, new, CompareSettings(), policy)
        root = written(judged.report)
        file = io.BytesIO(JunitReport().render(judged.report))
    results = Counter(status.value for status in (r.status for r in judged.verdict.rules))
    found = Counter(
        next((child.tag for child in case if child.tag in RESULTS), "passed")
        for case in root.iter("testcase")
    )
    assert results == {"FAIL": 2, "INCONCLUSIVE": 1}
    assert found == {"failure": 2, "skipped": 1}
    assert junitparser.JUnitXml.fromfile(file).failures == 2

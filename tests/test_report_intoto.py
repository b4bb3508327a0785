"""The in-toto attestation: valid by the format's own library, and none where there is no verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import report_samples as samples
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement
from muscle_gov_plugins.report_intoto import InTotoReport

from muscle_gov import OutputError, Report
from muscle_gov.data import ModelInfo, Status

HEX = "ab" * 32
DIGESTED = ModelInfo(
    "new+muscle", "f1" * 32, {"weights": HEX, "adapter": "cd" * 32, "dtype": "bfloat16"}
)


def passing(**changes: Any) -> Report:
    verdict = samples.verdict(
        Status.PASS,
        rules=(samples.rule_result(Status.PASS), samples.rule_result(Status.PASS, "reading")),
        waivers=(),
        quarantined=(),
    )
    return samples.report(verdict=replace(verdict, **changes))


def rendered(report: Report, **options: Any) -> Any:
    """The statement, checked by the library that defines it."""
    content = InTotoReport(**options).render(report)
    assert content == InTotoReport(**options).render(report)
    told = json.loads(content)
    statement = json_format.Parse(content, statement_pb2.Statement())
    Statement.copy_from_pb(statement).validate()
    for one in told["predicate"]["configuration"]:
        descriptor = json_format.ParseDict(one, ResourceDescriptor().pb)
        ResourceDescriptor.copy_from_pb(descriptor).validate()
    assert told["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    return told


def test_a_verdict_that_passes() -> None:
    told = rendered(passing())
    assert told["predicate"]["result"] == "PASSED"
    assert len(told["predicate"]["passedTests"]) == 2
    assert told["predicate"]["warnedTests"] == told["predicate"]["failedTests"] == []
    assert told["subject"][0]["name"] == "new-model"


def test_a_verdict_that_fails() -> None:
    told = rendered(samples.report())
    assert told["predicate"]["result"] == "FAILED"
    assert told["predicate"]["failedTests"] == ["maths: NFR at most 5 %"]
    assert "maths: 7 is set aside (data owner)" in told["predicate"]["warnedTests"]


@pytest.mark.parametrize(
    ("tier", "status"),
    [("advisory", Status.FAIL), ("advisory", Status.INCONCLUSIVE), ("supporting", Status.INCONCLUSIVE)],
)
def test_what_does_not_decide_is_a_warning(tier: str, status: Status) -> None:
    rules = (samples.rule_result(Status.PASS), samples.rule_result(status, "reading", tier=tier))
    told = rendered(passing(rules=rules))
    assert told["predicate"]["result"] == "WARNED"
    assert told["predicate"]["warnedTests"] == ["reading: NFR at most 5 %"]


def test_an_exception_that_was_applied_is_a_warning() -> None:
    told = rendered(passing(waivers=samples.waivers()))
    assert told["predicate"]["result"] == "WARNED"
    assert told["predicate"]["warnedTests"] == ["maths: 7 is set aside (data owner)"]


@pytest.mark.parametrize("status", [Status.INCONCLUSIVE, Status.INCOMPARABLE, Status.NOT_JUDGED])
def test_no_attestation_without_a_verdict(status: Status) -> None:
    with pytest.raises(OutputError, match=status.value):
        InTotoReport().render(passing(status=status))


def test_no_attestation_of_a_verdict_at_odds_with_its_rules() -> None:
    with pytest.raises(OutputError, match="is PASS, but"):
        InTotoReport().render(passing(rules=(samples.rule_result(Status.FAIL),)))


def test_no_attestation_without_evidence() -> None:
    with pytest.raises(OutputError, match="evidence"):
        InTotoReport().render(replace(passing(), evidence=None))


def test_a_failure_is_never_without_a_failed_test() -> None:
    told = rendered(samples.report(verdict=samples.verdict(rules=())))
    assert told["predicate"]["result"] == "FAILED"
    assert len(told["predicate"]["failedTests"]) == 1


def test_the_subject_is_named_by_the_digests_that_are_known() -> None:
    report = passing()
    told = rendered(replace(report, comparison=replace(report.comparison, new=DIGESTED)))
    assert told["subject"] == [
        {"name": "new+muscle", "digest": {"sha256": HEX, "muscleGovFingerprint": "f1" * 32}},
        {"name": "new+muscle (adapter)", "digest": {"sha256": "cd" * 32}},
    ]
    # what a log says of itself is no digest of weights
    assert set(rendered(report)["subject"][0]["digest"]) == {"muscleGovFingerprint"}


def test_it_is_bound_to_its_time_and_to_what_was_judged() -> None:
    told = rendered(passing(), valid_days=30)
    verdict, *others = told["predicate"]["configuration"]
    assert verdict["annotations"]["judged"] == "2026-01-01T12:00:05Z"
    assert verdict["annotations"]["validUntil"] == "2026-01-31T12:00:05Z"
    assert verdict["annotations"]["comparison"] == "20260101-abc123"
    names = [one["name"] for one in others]
    assert names[0] == "old model: old-model"
    assert {"policy: policy.toml", "suite: maths", "predictions: maths, new", "muscle-gov"} <= set(names)
    other = rendered(passing(reason="another"), valid_days=30)["predicate"]["configuration"][0]
    assert other["digest"] != verdict["digest"]
    assert "validUntil" not in rendered(passing())["predicate"]["configuration"][0]["annotations"]


@pytest.mark.parametrize("days", [0, -1, 100_000])
def test_days_are_checked(days: int) -> None:
    with pytest.raises(ValueError, match="valid_days"):
        InTotoReport(valid_days=days)


@pytest.mark.parametrize("text", samples.HOSTILE)
def test_hostile_texts_stay_texts(text: str) -> None:
    told = rendered(samples.hostile_report(text))
    assert set(told) == {"_type", "subject", "predicateType", "predicate"}
    assert told["predicate"]["result"] == "FAILED"

"""Evaluation results for the Hub's leaderboards: read by its own parser, and only where asked for."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml, parse_eval_result_entries
from muscle_gov_plugins.report_eval_results import EvalResultsReport
from report_samples import HOSTILE, comparison, figures, hostile_report, measure, report, verdict

from muscle_gov.data import Finding, Report, Status
from muscle_gov.errors import UsageError
from muscle_gov.plugins import build

MATHS = "maths=cais/mmlu:high_school"


def entries(given_: Report, *benchmarks: str, **options: Any) -> list[EvalResultEntry]:
    """What the Hub reads of the file; writing it again gives the same."""
    text = EvalResultsReport(benchmarks=benchmarks or (MATHS,), **options).render(given_)
    data = yaml.safe_load(text.decode("utf-8", "strict"))
    found = parse_eval_result_entries(data)
    assert eval_result_entries_to_yaml(found) == data
    return found


def test_an_entry_names_benchmark_task_value_and_day() -> None:
    headers = {"maths": ({}, {"started": "2026-01-01T12:00:00Z"})}
    (entry,) = entries(report(comparison=comparison(headers=headers)))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("cais/mmlu", "high_school", 0.75)
    assert entry.date == "2026-01-01T12:00:00Z"
    assert entry.source_url is None
    assert entries(report())[0].date is None
    assert entry.notes == (
        "n=100, 95 % interval [0.73, 0.77]; negative flip rate 0.1 [0.08, 0.12] against old-model; "
        "muscle-gov 0.1.0"
    )


def test_only_suites_that_are_named_are_told_in_the_order_given() -> None:
    found = entries(report(), "reading=org/reading:default", MATHS)
    assert [one.dataset_id for one in found] == ["org/reading", "cais/mmlu"]
    assert len(entries(report())) == 1


def test_percent_and_source_can_be_asked_for() -> None:
    (entry,) = entries(report(), percent=True, source="https://example.org/r")
    assert (entry.value, entry.source_url, entry.source_name) == (
        75.0,
        "https://example.org/r",
        "muscle-gov",
    )


def test_a_mean_score_keeps_its_own_unit() -> None:
    graded = figures("maths", kind="graded")
    (entry,) = entries(report(comparison=comparison(suites=(graded,), total=None)), percent=True)
    assert entry.value == 30.25
    assert "share of scores that fell 0.4" in (entry.notes or "")


def test_without_interval_or_comparability_the_notes_say_less() -> None:
    lone = figures("maths", values={})
    lone.measures["accuracy_new"] = measure(0.5).__class__(0.5, None, None, 1, "one unit")  # type: ignore[index]
    told = verdict(Status.INCOMPARABLE, findings=(Finding("prompt-changed", "blocks", "x", "maths"),))
    (entry,) = entries(report(verdict=told, comparison=comparison(suites=(lone,), total=None)))
    assert entry.notes == "n=1; muscle-gov 0.1.0"


def test_a_suite_that_is_not_there_or_was_not_measured_is_refused() -> None:
    with pytest.raises(UsageError, match=r"has no suite 'code'; it has maths, reading"):
        entries(report(), "code=org/code:default")
    lone = figures("maths", values={"accuracy_new": None})
    with pytest.raises(UsageError, match="nothing was measured on 'maths'"):
        entries(report(comparison=comparison(suites=(lone,), total=None)))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "benchmarks: say which suite is which benchmark"),
        ({"benchmarks": []}, "as SUITE=OWNER/DATASET:TASK"),
        ({"benchmarks": "maths"}, "'maths' must read SUITE=OWNER/DATASET:TASK"),
        ({"benchmarks": "maths=mmlu:default"}, "must read"),
        ({"benchmarks": "maths=cais/mmlu"}, "must read"),
        ({"benchmarks": "maths=cais/mmlu:a b"}, "must read"),
        ({"benchmarks": "=cais/mmlu:a"}, "must read"),
        ({"benchmarks": [MATHS, MATHS]}, "a suite is named twice"),
        ({"benchmarks": MATHS, "source": "ftp://x"}, "is no web address"),
    ],
)
def test_an_option_that_cannot_be_is_refused_in_one_sentence(options: dict[str, Any], told: str) -> None:
    problems: list[str] = []
    assert build(EvalResultsReport, options, problems) is None
    assert len(problems) == 1
    assert told in problems[0]


@pytest.mark.parametrize("text", [text for text in HOSTILE if text.strip()])
def test_hostile_text_stays_in_its_place(text: str) -> None:
    found = hostile_report(text)
    (entry,) = entries(found, f"{text}=org/name:task")
    assert (entry.dataset_id, entry.date) == ("org/name", None)
    assert not any(sign in str(entry.notes) for sign in ("\u202e", "\x1b", "\x00", "\n", "\r"))
    report_of = EvalResultsReport(benchmarks=(f"{text}=org/name:task",))
    assert report_of.render(found) == report_of.render(hostile_report(text))

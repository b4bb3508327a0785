"""The JSON report: it keeps to its schema, and holds everything that is known."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from muscle_gov_plugins.report_json import JsonReport, plain, schema, schema_text
from report_samples import (
    HOSTILE,
    CountedFlips,
    comparison,
    figures,
    flip,
    hostile_report,
    report,
    verdict,
)

from muscle_gov.data import AppliedWaiver, Measure, ModelInfo, Report, Status
from muscle_gov.plugins import build
from muscle_gov.settings import Rule, Waiver

PUBLISHED = Path(__file__).resolve().parent.parent / "docs" / "schemas" / "report.schema.json"
REMAKE = (
    "the schema is out of date; write it again by\n  python -c 'from muscle_gov_plugins.report_json "
    'import schema_text; print(schema_text(), end="")\' > docs/schemas/report.schema.json'
)


@cache
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema())


def no_nan(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


def written(given_: Report, **options: int) -> Any:
    """The document read back as strictly as any reader would."""
    text = JsonReport(**options).render(given_).decode("utf-8", "strict")
    found = json.loads(text, parse_constant=no_nan)
    validator().validate(found)
    return found


# -------------------------------------------------------------------------------------------- schema


def test_the_published_schema_is_up_to_date() -> None:
    assert PUBLISHED.read_text(encoding="utf-8") == schema_text(), REMAKE


def test_the_schema_is_a_schema_and_describes_the_fields() -> None:
    made = schema()
    jsonschema.Draft202012Validator.check_schema(made)
    assert made["$defs"]["Measure"]["properties"]["method"]["description"].startswith("Which interval")
    # documents of before there were candidates have none
    assert set(made["required"]) == set(made["properties"]) - {"candidates"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.pop("exit_code"),
        lambda d: d.update(schema="other"),
        lambda d: d.update(schema_version=2),
        lambda d: d["verdict"].update(status="GREEN"),
        lambda d: d["verdict"].pop("waivers"),
        lambda d: d["comparison"]["suites"][0]["measures"]["nfr"].update(low="0.1"),
        lambda d: d["flips"][0].update(instance_id=1),
        lambda d: d["flips"][0].pop("waived"),
    ],
)
def test_the_schema_refuses_a_damaged_document(damage: Any) -> None:
    found = written(report())
    damage(found)
    with pytest.raises(jsonschema.ValidationError):
        validator().validate(found)


# ------------------------------------------------------------------------------------------- content


@pytest.mark.parametrize("status", list(Status))
def test_the_document_names_itself_and_gives_the_exit_code(status: Status) -> None:
    found = written(report(verdict=verdict(status)))
    assert list(found)[:3] == ["schema", "schema_version", "exit_code"]
    assert (found["schema"], found["schema_version"]) == ("muscle-gov/report", 1)
    assert found["exit_code"] == status.exit_code
    assert found["verdict"]["status"] == status.value


def test_verdict_and_comparison_are_there_field_for_field() -> None:
    waiver = Waiver("maths", "known", "Kim", "2026-12-31", instance="7")
    told = verdict(waivers=(AppliedWaiver(waiver, 1, "applied"),))
    given_ = report(verdict=told, comparison=comparison(slices=(figures(slice="subject=sums"),)))
    found = written(given_)
    assert found["verdict"] == json.loads(json.dumps(plain(told)))
    assert found["verdict"]["waivers"][0]["waiver"]["owner"] == "Kim"
    assert found["verdict"]["rules"][0]["rule"]["max"] == 0.05
    assert found["verdict"]["findings"][0]["code"] == "other-metrics"
    measures = found["comparison"]["slices"][0]["measures"]
    assert measures["nfr"] == {
        "value": 0.1,
        "low": 0.1 - 0.02,
        "high": 0.1 + 0.02,
        "n": 100,
        "method": "Clopper-Pearson",
    }
    assert set(measures) == set(figures().measures)
    assert found["flip_counts"] == {"negative": 3, "positive": 1}


def test_a_flip_has_its_texts_scores_and_tags() -> None:
    first = written(report(flips=(flip(7, waived="known"),)))["flips"][0]
    assert first == {**plain(flip(7, waived="known")), "instance_id": "7"}
    assert (first["old_output"], first["old_score"], first["tags"]) == (
        "It is 4.",
        1.0,
        {"subject": "sums"},
    )


@pytest.mark.parametrize(
    ("option", "n"), [({}, 4), ({"flips": 0}, 0), ({"flips": 2}, 2), ({"flips": 9}, 4)]
)
def test_as_many_flips_as_asked_for_are_included(option: dict[str, int], n: int) -> None:
    found = written(report(), **option)
    assert [one["key"] for one in found["flips"]] == ["1", "2", "3", "4"][:n]
    assert sum(found["flip_counts"].values()) == 4


def test_no_more_flips_are_read_than_asked_for() -> None:
    flips = CountedFlips(tuple(flip(n) for n in range(100)), [])
    written(report(flips=flips), flips=3)
    assert len(flips.reads) == 3


def test_each_flip_stands_on_a_line_of_its_own() -> None:
    lines = JsonReport().render(report()).decode().splitlines()
    assert sum(line.startswith('    {"suite":') for line in lines) == 4


def test_a_negative_number_of_flips_is_refused_in_one_sentence() -> None:
    problems: list[str] = []
    assert build(JsonReport, {"flips": -1}, problems) is None
    assert len(problems) == 1
    assert "flips: -1 must be at least 0" in problems[0]


# -------------------------------------------------------------------------------- what JSON cannot say


def test_what_is_not_a_number_is_null() -> None:
    broken = Measure(math.nan, -math.inf, math.inf, 3, "broken")
    bad = replace(figures(), measures={"nfr": broken}, p_value=math.nan)
    made = comparison(suites=(bad,), headers={"maths": ({"x": math.nan}, {"y": [math.inf]})})
    found = written(report(comparison=made, flips=(flip(old_score=math.nan),)))
    suite = found["comparison"]["suites"][0]
    assert suite["measures"]["nfr"] == {
        "value": None,
        "low": None,
        "high": None,
        "n": 3,
        "method": "broken",
    }
    assert suite["p_value"] is None
    assert found["comparison"]["headers"]["maths"] == [{"x": None}, {"y": [None]}]
    assert found["flips"][0]["old_score"] is None


def test_a_number_too_big_for_floats_is_a_string() -> None:
    details = {"seed": 2**70, "year": 2026, "edge": 2**53, "over": 2**53 + 1}
    made = comparison(new=ModelInfo("m", "f", details))
    found = written(report(comparison=made, flips=(flip(-1225544796397559968),)))
    assert found["comparison"]["new"]["details"] == {
        "edge": 2**53,
        "over": str(2**53 + 1),
        "seed": str(2**70),
        "year": 2026,
    }
    assert found["flips"][0]["instance_id"] == "-1225544796397559968"


def test_values_that_json_does_not_know_become_texts() -> None:
    details = {1: Path("a/b"), "day": date(2026, 1, 2), "set": {"b", "a"}, "bytes": b"x", "on": True}
    made = comparison(new=ModelInfo("m", "f", details))  # type: ignore[arg-type]
    assert written(report(comparison=made))["comparison"]["new"]["details"] == {
        "1": "a/b",
        "bytes": "b'x'",
        "day": "2026-01-02",
        "on": True,
        "set": ["a", "b"],
    }


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_comes_back_as_it_was(text: str) -> None:
    found = written(hostile_report(text))
    expected = "".join("\ufffd" if 0xD800 <= ord(c) < 0xE000 else c for c in text)
    assert found["flips"][0]["prompt"] == expected
    assert found["flips"][0]["tags"] == {expected: expected}
    assert found["verdict"]["rules"][0]["suite"] == expected
    assert found["comparison"]["new"]["details"] == {expected: [expected, {expected: expected}]}
    assert found["command"] == expected


@given(st.text(alphabet=st.characters()))
def test_any_text_makes_a_valid_document(text: str) -> None:
    written(hostile_report(text))


def test_a_line_of_a_megabyte_is_kept_whole() -> None:
    huge = "日\x00" * 500_000
    assert written(report(flips=(flip(old_output=huge),)))["flips"][0]["old_output"] == huge


# ------------------------------------------------------------------------------------------ sameness


def test_equal_reports_give_equal_bytes_whatever_the_order_of_their_mappings() -> None:
    turned = figures("maths")
    turned = replace(turned, measures=dict(sorted(turned.measures.items(), reverse=True)))
    again = report(
        comparison=comparison(suites=(turned, *comparison().suites[1:])),
        flip_counts={"positive": 1, "negative": 3},
    )
    assert again == report()
    assert JsonReport().render(again) == JsonReport().render(report())


def test_real_logs_make_a_valid_document(real_logs: Path) -> None:
    from muscle_gov import pipeline, plugins
    from muscle_gov.settings import CompareSettings, Gate, ImportSettings, Policy, Source
    from muscle_gov.store import open_store

    folder = real_logs / "lm_eval_mmlu_pro_plus_chemistry"
    old, new = (Source(path, ImportSettings()) for path in sorted(folder.glob("samples_*.jsonl")))
    with open_store(":memory:") as store:
        policy = Policy(Gate((Rule(metric="nfr", max=0.05),)))
        judged = pipeline.compare_logs(store, plugins.load(), old, new, CompareSettings(), policy)
        found = written(judged.report)
    assert (found["verdict"]["status"], found["exit_code"]) == ("INCOMPARABLE", 3)
    assert len(found["flips"]) == sum(found["flip_counts"].values()) == 1
    assert found["flips"][0]["tags"] == {"category": "chemistry"}

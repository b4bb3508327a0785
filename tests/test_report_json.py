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
    evidence,
    explanation,
    figures,
    flip,
    hostile_report,
    mended_report,
    report,
    verdict,
)

from muscle_gov.data import AppliedWaiver, Measure, ModelInfo, Report, Status
from muscle_gov.plugins import build
from muscle_gov.settings import Rule, Waiver

HERE = Path(__file__).resolve().parent
PUBLISHED = HERE.parent / "docs" / "schemas" / "report.schema.json"
RELEASED = HERE / "schemas" / "report-0.1.schema.json"
"""As it was when version 1 was released. It is never changed: a new release adds one beside it."""
OLD_DOCUMENT = HERE / "schemas" / "report-0.1.json"
"""What that release wrote."""
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
    # documents of before there were candidates and evidence have none
    assert set(made["required"]) == set(made["properties"]) - {"candidates", "evidence", "judged_by"}
    assert made["$id"] == "urn:muscle-gov:schema:report:1"


def released() -> Any:
    return json.loads(RELEASED.read_text(encoding="utf-8"))


def test_what_an_older_release_wrote_is_valid_still() -> None:
    old = json.loads(OLD_DOCUMENT.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(released()).validate(old)
    validator().validate(old)


@pytest.mark.parametrize("given_", [report(), hostile_report("text"), mended_report(3)], ids=str)
def test_whoever_reads_by_the_released_schema_can_read_what_is_written_now(given_: Report) -> None:
    jsonschema.Draft202012Validator(released()).validate(written(given_))


def test_no_field_that_was_released_has_gone_or_changed_its_type() -> None:
    def bare(schema_: Any) -> Any:
        """The schema without what does not bind: descriptions and defaults."""
        if isinstance(schema_, dict):
            loose = ("description", "default", "title")
            return {name: bare(value) for name, value in schema_.items() if name not in loose}
        return [bare(value) for value in schema_] if isinstance(schema_, list) else schema_

    old, new = released(), schema()
    for name, before in {"": old, **old["$defs"]}.items():
        now = new["$defs"][name] if name else new
        assert now.get("enum") == before.get("enum"), name
        # a field more that is demanded would make older documents invalid
        assert sorted(now.get("required", [])) == sorted(before.get("required", [])), name
        for field, wanted in before.get("properties", {}).items():
            assert bare(now["properties"][field]) == bare(wanted), f"{name}.{field}"


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


def test_explanations_quarantine_and_evidence_are_there_field_for_field() -> None:
    found = written(report())
    assert found["verdict"]["rules"][0]["explanation"] == plain(explanation())
    assert found["verdict"]["rules"][0]["place"] == "policy.toml:4"
    assert [one["status"] for one in found["verdict"]["waivers"]] == [
        *("applied", "expired", "unmatched", "over-broad")
    ]
    assert [one["status"] for one in found["verdict"]["quarantined"]] == ["applied", "not-flaky"]
    assert found["verdict"]["quarantined"][0]["quarantine"]["owner"] == "data owner"
    assert found["evidence"] == plain(evidence())
    assert found["evidence"]["resources"][0]["digest"] == "f0" * 32
    assert written(report(evidence=None))["evidence"] is None


def test_margins_are_numbers_or_null() -> None:
    flips = (flip(1, old_margin=1.25, new_margin=-0.5), flip(2), flip(3, new_margin=math.inf))
    found = [(one["old_margin"], one["new_margin"]) for one in written(report(flips=flips))["flips"]]
    assert found == [(1.25, -0.5), (None, None), (None, None)]


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

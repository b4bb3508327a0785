"""The aggregate of Every Eval Ever: by its schema, one model a file, and read back by our own reader."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from muscle_gov_plugins.reader_every_eval_ever import EveryEvalEverReader
from muscle_gov_plugins.report_every_eval_ever import EveryEvalEverReport
from report_samples import (
    HOSTILE,
    comparison,
    figures,
    hostile_report,
    measure,
    mended_report,
    report,
    verdict,
)

from muscle_gov import BadLine, Outcome, RecordedRow, RunHeader, pipeline, plugins
from muscle_gov.data import Finding, Report, Status
from muscle_gov.errors import InputError, UsageError
from muscle_gov.settings import CompareSettings, ImportSettings, Policy, Source
from muscle_gov.store import open_store

_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_STRINGS = {"type": "object", "additionalProperties": _TEXT}


def _object(required: str, more: bool = True, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": required.split(),
        "properties": properties,
        "additionalProperties": more,
    }


_WAYS = ["self_deployed", "externally_managed", "unknown"]
_WEIGHTS = ["open_weights", "closed_weights", "unknown"]
_BOUND = {"type": ["number", "null"]}
SCHEMA = _object(
    "schema_version evaluation_id retrieved_timestamp source_metadata eval_library model_info "
    "evaluation_results",
    more=False,
    schema_version=_TEXT,
    evaluation_id=_TEXT,
    retrieved_timestamp=_TEXT,
    source_metadata=_object(
        "source_type source_organization_name evaluator_relationship",
        source_name=_TEXT,
        source_type={"enum": ["documentation", "evaluation_run"]},
        source_organization_name=_TEXT,
        evaluator_relationship={"enum": ["first_party", "third_party", "collaborative", "other"]},
        additional_details=_STRINGS,
    ),
    eval_library=_object("name version", name=_TEXT, version=_TEXT, additional_details=_STRINGS),
    model_info=_object(
        "name id additional_details",
        name=_TEXT,
        id=_TEXT,
        inference_engine=_object("", name=_TEXT, version=_TEXT),
        additional_details={
            **_STRINGS,
            "required": ["deployment_type", "model_availability"],
            "properties": {
                "deployment_type": {"enum": _WAYS},
                "model_availability": {"enum": _WEIGHTS},
            },
        },
    ),
    evaluation_results={
        "type": "array",
        "items": _object(
            "evaluation_name source_data metric_config score_details",
            evaluation_result_id=_TEXT,
            evaluation_name=_TEXT,
            evaluation_timestamp=_TEXT,
            source_data={
                "oneOf": [
                    _object(
                        "dataset_name source_type",
                        dataset_name=_TEXT,
                        source_type={"const": "hf_dataset"},
                        hf_repo=_TEXT,
                        hf_split=_TEXT,
                    ),
                    _object(
                        "dataset_name source_type",
                        dataset_name=_TEXT,
                        source_type={"const": "other"},
                        additional_details=_STRINGS,
                    ),
                ]
            },
            metric_config=_object(
                "lower_is_better score_type min_score max_score",
                metric_id=_TEXT,
                metric_name=_TEXT,
                metric_kind=_TEXT,
                metric_unit=_TEXT,
                metric_parameters={
                    "type": "object",
                    "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
                },
                lower_is_better={"type": "boolean"},
                score_type={"const": "continuous"},
                min_score=_BOUND,
                max_score=_BOUND,
            ),
            score_details=_object(
                "score",
                score=_NUMBER,
                uncertainty=_object(
                    "",
                    num_samples={"type": "integer"},
                    confidence_interval=_object(
                        "lower upper",
                        lower=_NUMBER,
                        upper=_NUMBER,
                        confidence_level=_NUMBER,
                        method=_TEXT,
                    ),
                ),
            ),
            generation_config=_object(
                "",
                generation_args=_object(
                    "",
                    more=False,
                    temperature={"type": ["null", "number"]},
                    top_p={"type": ["null", "number"]},
                    top_k={"type": ["null", "number"]},
                    max_tokens={"type": "integer"},
                ),
                additional_details=_STRINGS,
            ),
        ),
    },
)
"""What the aggregate schema 0.3.0 demands of the parts that are written, restated. The package that
carries the schema itself needs Python 3.12."""

HEADER = {
    "model": "new-model",
    "harness": "lm-eval",
    "harness_version": "0.4.13",
    "metric": "exact_match",
    "higher_is_better": True,
    "dataset": "org/bench",
    "split": "test",
    "n_shot": 5,
    "decoding": {
        "temperature": 0.5,
        "max_tokens": 16,
        "until": ["\n"],
        "top_k": True,
        "top_p": math.nan,
    },
    "dtype": "bfloat16",
    "engine": "vllm 0.9",
    "started": "2026-01-01T10:00:00+00:00",
}


def aggregate(given_: Report, **options: str) -> Any:
    found = json.loads(EveryEvalEverReport(**options).render(given_).decode("utf-8", "strict"))
    jsonschema.validate(found, SCHEMA)
    return found


def with_header(**changes: Any) -> Report:
    header = {**HEADER, **changes}
    lone = comparison(suites=(figures("maths"),), total=None, headers={"maths": ({}, header)})
    return report(comparison=lone)


def scores(found: Any) -> dict[str, float]:
    return {
        f"{one['evaluation_name']} {one['evaluation_result_id']}": one["score_details"]["score"]
        for one in found["evaluation_results"]
    }


# ------------------------------------------------------------------------------------------- content


def test_the_new_model_has_its_accuracy_and_its_flips() -> None:
    found = aggregate(report())
    assert scores(found) == {
        "maths acc": 0.75,
        "maths nfr": 0.1,
        "maths pfr": 0.05,
        "maths accuracy_delta": -0.05,
        "reading acc": 0.75,
        "reading nfr": 0.1,
        "reading pfr": 0.05,
        "reading accuracy_delta": -0.05,
    }
    flips = found["evaluation_results"][1]
    assert flips["metric_config"]["metric_parameters"] == {
        "old_model": "old-model",
        "old_fingerprint": "f0",
    }
    assert flips["metric_config"]["lower_is_better"] is True
    assert flips["score_details"]["uncertainty"] == {
        "num_samples": 100,
        "confidence_interval": {
            "lower": pytest.approx(0.08),
            "upper": pytest.approx(0.12),
            "confidence_level": 0.95,
            "method": "Clopper-Pearson",
        },
    }
    assert found["retrieved_timestamp"] == "1767268800"
    assert found["source_metadata"]["additional_details"]["verdict"] == "FAIL"


def test_the_old_model_has_its_accuracy_alone() -> None:
    found = aggregate(report(), side="old")
    assert scores(found) == {"maths acc": 0.8, "reading acc": 0.8}
    assert found["model_info"]["name"] == "old-model"
    assert found["source_metadata"]["additional_details"]["compared_with"] == "new-model"


def test_the_log_says_how_the_model_was_asked() -> None:
    found = aggregate(with_header())
    (first, *_) = found["evaluation_results"]
    assert found["eval_library"] == {"name": "lm-eval", "version": "0.4.13"}
    assert found["model_info"]["inference_engine"] == {"name": "vllm 0.9"}
    assert found["model_info"]["additional_details"]["dtype"] == "bfloat16"
    assert first["source_data"] == {
        "dataset_name": "org/bench",
        "source_type": "hf_dataset",
        "hf_repo": "org/bench",
        "hf_split": "test",
    }
    # what is no number, or the format has no name for, is told as a text
    assert first["generation_config"] == {
        "generation_args": {"temperature": 0.5, "max_tokens": 16},
        "additional_details": {
            "until": '["\\n"]',
            "top_k": "true",
            "top_p": "null",
            "num_fewshot": "5",
        },
    }


def test_what_the_log_does_not_say_is_unknown_and_no_id_is_made_up() -> None:
    found = aggregate(report())
    assert found["eval_library"] == {"name": "unknown", "version": "unknown"}
    assert found["evaluation_results"][0]["source_data"] == {
        "dataset_name": "maths",
        "source_type": "other",
        "additional_details": {},
    }
    assert found["source_metadata"]["source_organization_name"] == "unknown"


def test_of_a_metric_that_is_better_if_lower_the_share_of_wrong_answers_is_told() -> None:
    (first, *_) = aggregate(with_header(higher_is_better=False))["evaluation_results"]
    assert first["metric_config"]["lower_is_better"] is True
    assert first["score_details"]["score"] == pytest.approx(0.25)
    interval = first["score_details"]["uncertainty"]["confidence_interval"]
    assert (interval["lower"], interval["upper"]) == (pytest.approx(0.23), pytest.approx(0.27))


def test_a_score_on_a_scale_has_no_bounds() -> None:
    found = aggregate(mended_report(3))
    graded = [one for one in found["evaluation_results"] if one["evaluation_name"] == "summaries"]
    assert [one["metric_config"]["max_score"] for one in graded] == [None, 1.0, 1.0, None]


def test_a_suite_without_a_figure_is_named_and_has_no_score() -> None:
    empty = figures("empty", values=dict.fromkeys(figures().measures))
    nan = replace(figures("nan"), measures={"accuracy_new": replace(measure(0.5), value=math.nan)})
    found = aggregate(report(comparison=comparison(suites=(empty, nan, figures("maths")), total=None)))
    assert {one["evaluation_name"] for one in found["evaluation_results"]} == {"maths"}
    told = found["source_metadata"]["additional_details"]
    assert told["not_measured"] == '["empty", "nan"]'


def test_models_that_may_not_be_compared_have_no_flips() -> None:
    told = verdict(Status.INCOMPARABLE, findings=(Finding("split-changed", "blocks", "x", "maths"),))
    found = scores(aggregate(report(verdict=told)))
    assert [name for name in found if name.startswith("maths")] == ["maths acc"]
    assert "reading nfr" in found


def test_one_suite_can_be_chosen_and_has_the_id_of_its_exported_rows() -> None:
    found = aggregate(with_header(), suite="maths")
    assert found["evaluation_id"] == "maths/new-model/2026-01-01T10:00:00+00:00"
    with pytest.raises(UsageError, match=r"no suite 'code'; it has maths$"):
        aggregate(with_header(), suite="code")


# ----------------------------------------------------------------------------------------- read back


def rows(broken: int) -> list[RecordedRow]:
    """Twenty answers, of which some are wrong, one was not judged and one failed."""
    made = [
        RecordedRow(
            key=f"q{number}",
            outcome=Outcome.WRONG if number < broken else Outcome.RIGHT,
            score=0.0 if number < broken else 1.0,
            answer=str(number),
            content_hash=f"hash-{number}",
            prompt=f"What is {number}?",
            target=str(number),
            output=f"It is {number}.",
            tags={"level": "hard" if number % 2 else "easy"},
        )
        for number in range(18)
    ]
    return [
        *made,
        RecordedRow("q18", Outcome.UNSCORED, content_hash="hash-18", why="no judge"),
        RecordedRow("q19", Outcome.ERROR, content_hash="hash-19", why="timeout"),
    ]


def compared(old: Path, new: Path) -> Report:
    with open_store(":memory:") as store:
        sources = (Source(path, ImportSettings(reader="every-eval-ever")) for path in (old, new))
        judged = pipeline.compare_logs(store, plugins.load(), *sources, CompareSettings(), Policy())
        return replace(judged.report, flips=tuple(judged.report.flips))


def test_rows_and_aggregate_are_read_back_as_one_and_compare_alike(tmp_path: Path) -> None:
    """Rows as `export` writes them, and beside them the aggregate of the report made of them."""
    reader = EveryEvalEverReader()
    paths = {}
    for side, broken in (("old", 3), ("new", 7)):
        header = dataclasses.asdict(RunHeader(**{**HEADER, "model": side}, task="bench"))
        paths[side] = tmp_path / f"{side}_samples.jsonl"
        paths[side].write_bytes(b"".join(reader.write(header, rows(broken))))
    first = compared(paths["old"], paths["new"])
    for side, path in paths.items():
        made = EveryEvalEverReport(side=side, suite="bench").render(first)  # type: ignore[arg-type]
        path.with_name(f"{side}.json").write_bytes(made)
    ((run, found),) = [(run, list(run.rows)) for run in reader.read(tmp_path / "new.json")]
    assert not any(isinstance(row, BadLine) for row in found)
    assert found == rows(7)
    header = run.header
    assert (header.model, header.task, header.metric) == ("new", "bench", "exact_match")
    assert (header.higher_is_better, header.notes) == (True, ())
    assert json.loads((tmp_path / "new.json").read_text())["evaluation_results"][0]["score_details"][
        "score"
    ] == pytest.approx(11 / 18)
    again = compared(tmp_path / "old.json", tmp_path / "new.json")
    assert again.flip_counts == first.flip_counts == {"negative": 4}
    for before, now in zip(first.comparison.suites, again.comparison.suites, strict=True):
        assert (now.outcomes, now.measures) == (before.outcomes, before.measures)
    # the two aggregates describe their metric alike, so nothing forbids to compare
    assert not [one for one in again.comparison.findings if one.level == "blocks"]


def test_what_an_aggregate_says_of_a_run_is_read_back(tmp_path: Path) -> None:
    header = dataclasses.asdict(RunHeader(**HEADER, task="maths"))
    (tmp_path / "x_samples.jsonl").write_bytes(b"".join(EveryEvalEverReader().write(header, rows(3))))
    (tmp_path / "x.json").write_bytes(EveryEvalEverReport().render(with_header()))
    (run,) = EveryEvalEverReader().read(tmp_path)
    read, wanted = run.header, RunHeader(**HEADER, task="maths")
    for name in ("model", "task", "harness", "harness_version", "metric", "higher_is_better"):
        assert getattr(read, name) == getattr(wanted, name)
    for name in ("dataset", "split", "n_shot", "dtype", "engine", "started"):
        assert getattr(read, name) == getattr(wanted, name)
    assert read.decoding == {"temperature": 0.5, "max_tokens": 16}


def test_an_aggregate_alone_is_refused_as_having_no_instances(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(EveryEvalEverReport().render(report()))
    with pytest.raises(InputError, match="aggregates alone hold no instances"):
        list(EveryEvalEverReader().read(path))


# ---------------------------------------------------------------------------------- hostile content


@pytest.mark.parametrize("side", ["old", "new"])
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_comes_back_as_it_was(text: str, side: str) -> None:
    found = aggregate(hostile_report(text), side=side)
    expected = "".join("\ufffd" if 0xD800 <= ord(c) < 0xE000 else c for c in text)
    assert found["model_info"]["name"] == expected
    assert {one["evaluation_name"] for one in found["evaluation_results"]} == {expected}


@given(st.text(alphabet=st.characters()))
@settings(deadline=None)
def test_any_text_makes_a_valid_file(text: str) -> None:
    aggregate(hostile_report(text))


def test_equal_reports_give_equal_bytes_whatever_the_order_of_their_mappings() -> None:
    turned = with_header(decoding=dict(reversed(HEADER["decoding"].items())))  # type: ignore[attr-defined]
    assert EveryEvalEverReport().render(turned) == EveryEvalEverReport().render(with_header())

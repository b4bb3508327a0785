"""The CycloneDX bill of materials: valid by the schema of 1.6, and true."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import report_samples as samples
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from muscle_gov_plugins.report_cyclonedx import CycloneDxReport

from muscle_gov import Report
from muscle_gov.data import ModelInfo

VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)
HEX, ADAPTER = "ab" * 32, "cd" * 32


def rendered(report: Report, **options: Any) -> Any:
    """The bill, checked against the schema that the format's own library brings."""
    content = CycloneDxReport(**options).render(report)
    assert content == CycloneDxReport(**options).render(report)
    assert VALIDATOR.validate_str(content.decode()) is None
    return json.loads(content)


def with_models(report: Report, **models: ModelInfo) -> Report:
    return replace(report, comparison=replace(report.comparison, **models))


def figures_of(told: Any) -> list[Any]:
    card = told["metadata"]["component"]["modelCard"]
    return list(card["quantitativeAnalysis"]["performanceMetrics"])


def test_both_models_and_every_figure() -> None:
    report = samples.report()
    told = rendered(report)
    assert told["specVersion"] == "1.6"
    assert told["metadata"]["timestamp"] == "2026-01-01T12:00:00Z"
    assert told["metadata"]["component"]["name"] == "new-model"
    assert [one["name"] for one in told["components"]] == ["old-model"]
    nfr = [one for one in figures_of(told) if one["type"] == "nfr"]
    assert [one["slice"] for one in nfr] == ["maths", "reading", "(all)"]
    assert nfr[0] == {
        "type": "nfr",
        "value": "0.1",
        "slice": "maths",
        "confidenceInterval": {"lowerBound": "0.08", "upperBound": "0.12000000000000001"},
    }


def test_slices_are_told_unless_they_are_not_wanted() -> None:
    report = samples.report(
        comparison=samples.comparison(slices=(samples.figures(slice="subject=sums"),))
    )
    assert "maths [subject=sums]" in {one["slice"] for one in figures_of(rendered(report))}
    without = figures_of(rendered(report, slices=False))
    assert "maths [subject=sums]" not in {one["slice"] for one in without}


def test_a_figure_that_is_undefined_is_left_out() -> None:
    figures = samples.figures(values={"nfr": None})
    report = samples.report(comparison=samples.comparison(suites=(figures,), total=None))
    assert "nfr" not in {one["type"] for one in figures_of(rendered(report))}


def test_hashes_are_those_of_files_alone() -> None:
    told = rendered(samples.report())
    assert "hashes" not in told["metadata"]["component"]
    model = ModelInfo("new", "f1", {"weights": HEX, "revision": "1"})
    told = rendered(with_models(samples.report(), new=model))
    assert told["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": HEX}]


def test_an_adapter_has_the_base_as_its_ancestor() -> None:
    model = ModelInfo("base+muscle", "f1", {"weights": HEX, "adapter": ADAPTER})
    told = rendered(with_models(samples.report(), new=model))["metadata"]["component"]
    assert told["components"][0]["hashes"] == [{"alg": "SHA-256", "content": ADAPTER}]
    (base,) = told["pedigree"]["ancestors"]
    assert base["name"] == "base of base+muscle"
    assert base["hashes"] == [{"alg": "SHA-256", "content": HEX}]
    assert "hashes" not in told


def test_a_mended_model_names_the_update_it_was_made_from() -> None:
    report = samples.mended_report(about=2)
    update = report.candidates[0]
    base = ModelInfo("update", "f2", {"weights": HEX})
    first = replace(update, comparison=replace(update.comparison, new=base))
    report = replace(report, candidates=(first, *report.candidates[1:]))
    report = with_models(
        report, new=ModelInfo("update+muscle", "f3", {"weights": HEX, "adapter": ADAPTER})
    )
    told = rendered(report)["metadata"]["component"]
    assert told["pedigree"]["ancestors"][0]["name"] == "update"


def test_the_same_comparison_has_the_same_number() -> None:
    numbers = {rendered(samples.report())["serialNumber"] for _ in range(2)}
    other = samples.report(comparison=samples.comparison(id="20260101-other"))
    assert len(numbers) == 1
    assert rendered(other)["serialNumber"] not in numbers


@pytest.mark.parametrize("text", samples.HOSTILE)
def test_hostile_texts_stay_texts(text: str) -> None:
    # a time is never a text of a log
    report = samples.hostile_report(text)
    told = rendered(
        replace(report, comparison=replace(report.comparison, created="2026-01-01T12:00:00Z"))
    )
    assert told["metadata"]["component"]["type"] == "machine-learning-model"

"""One model's scores as an aggregate of Every Eval Ever, the common format of evaluation results.

An aggregate is about one model, so this one is about one side; the flips against the old model are
metrics of the new one, with the old one as a parameter. A report holds no rows but the flips, so the
rows stay out: `muscle-gov export` writes them, and `X_samples.jsonl` laid beside `X.json` is read as
one. What a log does not tell is `unknown`, and a suite without a figure is named and has no score.
Format: every_eval_ever/schemas/eval.schema.json, version 0.3.0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from muscle_gov import Report, hookimpl
from muscle_gov.errors import UsageError
from muscle_gov.text import one_line
from muscle_gov_plugins._every_eval_ever_records import VERSION
from muscle_gov_plugins._model_index import UNKNOWN, header_of, hub_id, is_blocked
from muscle_gov_plugins.report_json import plain

if TYPE_CHECKING:
    from muscle_gov.data import Comparison, Measure, ModelInfo, SuiteFigures

_SIDES = {"old": 0, "new": 1}
_NUMBERS = ("temperature", "top_p", "top_k")
Bounds = tuple[float, float] | None
"""Least and most that a share can be; None where the unit is the suite's own."""
_SHARE, _CHANGE = (0.0, 1.0), (-1.0, 1.0)
# Metric → (name, kind, is less better?, bounds).
_AGAINST: Mapping[str, tuple[str, str, bool, Bounds]] = {
    "nfr": ("Negative flip rate", "negative_flip_rate", True, _SHARE),
    "pfr": ("Positive flip rate", "positive_flip_rate", False, _SHARE),
    "accuracy_delta": ("Change of accuracy", "difference", False, _CHANGE),
    "regression_rate": ("Share of scores that fell", "regression_rate", True, _SHARE),
    "gain_rate": ("Share of scores that rose", "gain_rate", False, _SHARE),
    "score_delta": ("Change of mean score", "difference", False, None),
}


@hookimpl
def register_reports() -> dict[str, type]:
    return {"every-eval-ever": EveryEvalEverReport}


@dataclass(frozen=True)
class EveryEvalEverReport:
    """Scores of one model as an aggregate of Every Eval Ever (schema 0.3.0), without instances."""

    side: Literal["new", "old"] = "new"
    """Whose scores. Flips are told of the new model alone."""
    suite: str | None = None
    """Only this suite, as a file to lay beside the rows that `muscle-gov export` writes of it."""
    organization: str = UNKNOWN
    """Who evaluated."""
    relationship: Literal["first_party", "third_party", "collaborative", "other"] = "other"
    """What the evaluator is to the model's maker."""

    suffix: ClassVar[str] = ".json"

    def render(self, report: Report) -> bytes:
        import orjson

        suites = list(report.comparison.suites)
        if self.suite is not None:
            suites = [figures for figures in suites if figures.suite == self.suite]
            if not suites:
                known = ", ".join(one_line(one.suite, 60) for one in report.comparison.suites) or "none"
                raise UsageError(f"suite: the comparison has no suite {self.suite!r}; it has {known}")
        made = plain(self._aggregate(report, suites))
        return orjson.dumps(made, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    def _aggregate(self, report: Report, suites: Sequence[SuiteFigures]) -> dict[str, Any]:
        comparison, side = report.comparison, _SIDES[self.side]
        model = comparison.new if side else comparison.old
        headers = [header_of(comparison, figures.suite, side) for figures in suites]
        results = [result for figures in suites for result in _results(report, figures, side)]
        measured = {result["evaluation_name"] for result in results}
        about = {
            "comparison": comparison.id,
            "muscle_gov": comparison.tool_version,
            "verdict": report.verdict.status.value,
            "compared_with": (comparison.old if side else comparison.new).name,
            "not_measured": [figures.suite for figures in suites if figures.suite not in measured],
        }
        return {
            "schema_version": VERSION,
            "evaluation_id": _evaluation_id(comparison, suites, model, headers),
            "retrieved_timestamp": _epoch(comparison.created),
            "source_metadata": {
                "source_name": "muscle-gov",
                "source_type": "evaluation_run",
                "source_organization_name": self.organization,
                "evaluator_relationship": self.relationship,
                "additional_details": _strings(about),
            },
            "eval_library": {
                "name": _one_of(headers, "harness") or UNKNOWN,
                "version": _one_of(headers, "harness_version") or UNKNOWN,
            },
            "model_info": _model(model, headers),
            "evaluation_results": results,
        }


def _evaluation_id(
    comparison: Comparison,
    suites: Sequence[SuiteFigures],
    model: ModelInfo,
    headers: Sequence[Mapping[str, Any]],
) -> str:
    """Of one suite the id that its exported rows have."""
    if len(suites) == 1:
        return f"{suites[0].suite}/{model.name}/{headers[0].get('started') or UNKNOWN}"
    return f"muscle-gov/{model.name}/{comparison.id}"


def _model(model: ModelInfo, headers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    told = {name: _one_of(headers, name) for name in ("dtype", "quantization")}
    details = {
        **_strings(model.details),
        **_strings({"fingerprint": model.fingerprint, **told}),
        "deployment_type": UNKNOWN,
        "model_availability": UNKNOWN,
    }
    made: dict[str, Any] = {"name": model.name, "id": model.name, "additional_details": details}
    engine = _one_of(headers, "engine")
    return made | ({"inference_engine": {"name": engine}} if engine else {})


# ------------------------------------------------------------------------------------------- results


def _results(report: Report, figures: SuiteFigures, side: int) -> Iterator[dict[str, Any]]:
    comparison = report.comparison
    header = header_of(comparison, figures.suite, side)
    level = _level(figures, header, "new" if side else "old")
    if level is not None:
        yield _result(comparison, figures, header, *level)
    if not side or is_blocked(report.verdict.findings, figures.suite):
        return
    old = {"old_model": comparison.old.name, "old_fingerprint": comparison.old.fingerprint}
    for metric, (title, kind, is_lower, bounds) in _AGAINST.items():
        measure = figures.measures.get(metric)
        if measure is None or not _is_number(measure.value):
            continue
        config = _config(metric, title, kind, is_lower, bounds) | {"metric_parameters": old}
        yield _result(comparison, figures, header, metric, config, measure)


def _level(
    figures: SuiteFigures, header: Mapping[str, Any], side: str
) -> tuple[str, dict[str, Any], Measure] | None:
    """Accuracy or mean score of one side, under the name that exported rows give their metric."""
    is_binary = figures.kind == "binary"
    measure = figures.measures.get(f"accuracy_{side}" if is_binary else f"score_{side}")
    if measure is None or not _is_number(measure.value):
        return None
    name = str(header.get("metric") or figures.metric or ("accuracy" if is_binary else "score"))
    is_lower = header.get("higher_is_better") is False
    if not is_binary:
        return name, _config(name, name, "score", is_lower, None), measure
    # accuracy counts what is right, and a metric of which less is better what is wrong
    kind, told = ("error_rate", _turned(measure)) if is_lower else ("accuracy", measure)
    return name, _config(name, name, kind, is_lower, _SHARE), told


def _turned(measure: Measure) -> Measure:
    from dataclasses import replace

    def other(share: float | None) -> float | None:
        return None if share is None else 1.0 - share

    return replace(measure, value=other(measure.value), low=other(measure.high), high=other(measure.low))


def _config(name: str, title: str, kind: str, is_lower: bool, bounds: Bounds) -> dict[str, Any]:
    least, most = bounds or (None, None)
    return {
        "metric_id": name,
        "metric_name": title,
        "metric_kind": kind,
        **({"metric_unit": "proportion"} if bounds else {}),
        "lower_is_better": is_lower,
        "score_type": "continuous",
        "min_score": least,
        "max_score": most,
    }


def _result(
    comparison: Comparison,
    figures: SuiteFigures,
    header: Mapping[str, Any],
    name: str,
    config: Mapping[str, Any],
    measure: Measure,
) -> dict[str, Any]:
    uncertainty: dict[str, Any] = {"num_samples": measure.n}
    if _is_number(measure.low) and _is_number(measure.high):
        uncertainty["confidence_interval"] = {
            "lower": measure.low,
            "upper": measure.high,
            "confidence_level": comparison.confidence,
            "method": measure.method or UNKNOWN,
        }
    made: dict[str, Any] = {
        "evaluation_result_id": name,
        "evaluation_name": figures.suite,
        "source_data": _source(figures.suite, header),
        "metric_config": dict(config),
        "score_details": {"score": measure.value, "uncertainty": uncertainty},
        "generation_config": _generation(header),
    }
    started = header.get("started")
    return made | ({"evaluation_timestamp": str(started)} if started else {})


def _source(suite: str, header: Mapping[str, Any]) -> dict[str, Any]:
    dataset, split = header.get("dataset"), header.get("split")
    name = str(dataset or suite)
    if repository := hub_id(dataset):
        told = {"hf_split": split} if isinstance(split, str) else {}
        return {"dataset_name": name, "source_type": "hf_dataset", "hf_repo": repository, **told}
    return {
        "dataset_name": name,
        "source_type": "other",
        "additional_details": _strings({"split": split}),
    }


def _generation(header: Mapping[str, Any]) -> dict[str, Any]:
    """How answers were sampled, the format's own names first; everything else as texts."""
    decoding = header.get("decoding")
    rest = dict(decoding) if isinstance(decoding, Mapping) else {}
    known: dict[str, Any] = {}
    for name in (*_NUMBERS, "max_tokens"):
        value = rest.get(name)
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if is_whole or (name in _NUMBERS and isinstance(value, float) and math.isfinite(value)):
            known[name] = rest.pop(name)
    for name in ("chat_template", "system_prompt", "scorer", "task_version"):
        rest[name] = header.get(name)
    rest["num_fewshot"] = header.get("n_shot")
    return {"generation_args": known, "additional_details": _strings(rest)}


# -------------------------------------------------------------------------------------------- pieces


def _one_of(headers: Sequence[Mapping[str, Any]], name: str) -> str | None:
    """What the suites' headers say, which is mostly the same of all; several in their order."""
    found = dict.fromkeys(str(header[name]) for header in headers if header.get(name))
    return ", ".join(found) or None


def _strings(values: Mapping[str, Any]) -> dict[str, str]:
    """All that is known, as texts, which is what the schema wants."""
    return {
        str(name): value if isinstance(value, str) else json.dumps(plain(value), sort_keys=True)
        for name, value in values.items()
        if value is not None and value != []
    }


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _epoch(moment: str) -> str:
    """Seconds since 1970, as the format has it; a text that is no time stays as it is."""
    try:
        return str(int(datetime.fromisoformat(moment).timestamp()))
    except (ValueError, OverflowError):
        return moment

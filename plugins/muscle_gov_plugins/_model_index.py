"""Evaluation results as model cards of the Hugging Face Hub hold them: the `model-index` of a YAML head.

The Hub names data sets and metrics by its own ids, and links to them. So a data set has the id that
the log gives, and where that is none, `unknown`: nothing is made up. The suite's name stands as its
configuration, by which the Hub keeps suites of one data set apart. Figures that compare two models are
left out where the two may not be compared. YAML is written so that every parser reads the same: a text
that one of them could take for a number, a date or a truth value is quoted.
Format: hub-docs `modelcard.md`; read by `huggingface_hub.repocard_data.model_index_to_eval_results`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from muscle_gov.text import one_line

if TYPE_CHECKING:
    from muscle_gov.data import Comparison, Finding, Measure, SuiteFigures

UNKNOWN = "unknown"
TASK = "text-generation"
"""The Hub's name of what language models do."""
_NAME = 200
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}", re.ASCII)
_FILE = re.compile(r".*\.(jsonl?|csv|tsv|parquet|arrow|txt|ya?ml|gz|zip|eval)", re.IGNORECASE)
# Metric → type on the Hub (its own ids where it has one) and name; {} is the old model.
_LEVEL = {"accuracy_new": ("accuracy", "Accuracy"), "score_new": ("", "Mean score")}
_AGAINST = {
    "nfr": ("nfr", "Negative flip rate (NFR) against {}"),
    "pfr": ("pfr", "Positive flip rate (PFR) against {}"),
    "accuracy_delta": ("accuracy_delta", "Change of accuracy against {}"),
    "regression_rate": ("regression_rate", "Share of answers that score lower than those of {}"),
    "gain_rate": ("gain_rate", "Share of answers that score higher than those of {}"),
    "score_delta": ("score_delta", "Change of mean score against {}"),
}


def model_index(
    comparison: Comparison,
    name: str,
    task: str = TASK,
    source: str | None = None,
    findings: Sequence[Finding] | None = None,
) -> list[dict[str, Any]]:
    """The `model-index` of the new model, with one result for each suite that has any figure.

    `findings` are those of the verdict, where it is known: what was accepted blocks no more.
    """
    found = comparison.findings if findings is None else findings
    results = []
    for figures in comparison.suites:
        metrics = list(_metrics(comparison, figures, is_blocked(found, figures.suite)))
        if metrics:
            result: dict[str, Any] = {
                "task": {"type": _text(task)},
                "dataset": _dataset(comparison, figures.suite),
                "metrics": metrics,
            }
            if source:
                result["source"] = {"url": source, "name": "muscle-gov"}
            results.append(result)
    return [{"name": _text(name), "results": results}]


def is_blocked(findings: Iterable[Finding], suite: str) -> bool:
    """Whether the two models may not be compared on this suite; all together are every suite."""
    return any(
        finding.level == "blocks" and (finding.suite in (None, suite) or suite == "(all)")
        for finding in findings
    )


def _metrics(
    comparison: Comparison, figures: SuiteFigures, only_level: bool
) -> Iterator[dict[str, Any]]:
    old = _text(comparison.old.name)
    told = {**_LEVEL, **({} if only_level else _AGAINST)}
    for metric, (kind, name) in told.items():
        measure = figures.measures.get(metric)
        value = None if measure is None else _number(measure.value)
        if measure is None or value is None:
            continue
        yield {
            "type": kind or _text(figures.metric or "score"),
            "value": value,
            "name": name.format(old),
            "args": _args(measure, comparison, None if metric in _LEVEL else old),
        }


def _args(measure: Measure, comparison: Comparison, old: str | None) -> dict[str, Any]:
    """The interval and what else tells how the figure came about."""
    made: dict[str, Any] = {"pairs": measure.n}
    low, high = _number(measure.low), _number(measure.high)
    if low is not None and high is not None:
        made |= {"low": low, "high": high, "confidence": comparison.confidence}
        made["method"] = _text(measure.method)
    if old is not None:
        made["old_model"] = old
    return made


def _dataset(comparison: Comparison, suite: str) -> dict[str, str]:
    header = header_of(comparison, suite, 1)
    split = header.get("split")
    made = {"type": hub_id(header.get("dataset")) or UNKNOWN, "name": _text(suite)}
    made["config"] = made["name"]
    if isinstance(split, str) and split.strip():
        made["split"] = _text(split)
    return made


def header_of(comparison: Comparison, suite: str, side: int) -> Mapping[str, Any]:
    """The old (0) or new (1) log's header; empty where there is none."""
    found = comparison.headers.get(suite)
    return {} if found is None else found[side]


def hub_id(dataset: Any) -> str | None:
    """The data set as the log names it, where that reads like `owner/name` and not like a file."""
    if not isinstance(dataset, str) or not _HUB_ID.fullmatch(dataset) or _FILE.fullmatch(dataset):
        return None
    return dataset


def _number(value: float | None) -> float | None:
    """Six digits, as nobody reads more of a card; None for what is not known or no number."""
    return None if value is None or not abs(value) < float("inf") else rounded(value)


def rounded(value: float) -> float:
    """Six digits."""
    return float(f"{value:.6g}")


def _text(text: str) -> str:
    return one_line(text, _NAME) or UNKNOWN


# ---------------------------------------------------------------------------------------------- YAML

# what no YAML parser of any version takes for anything but a text
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_/.()-]*(?: [A-Za-z0-9_/.()-]+)*", re.ASCII)
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


def yaml_text(value: Any) -> str:
    """The value in block style, mappings in their own order."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, _: Any) -> bool:
            return True

    def represent(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
        # whoever looks for the end of a head looks for dashes
        is_plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS and "--" not in text
        style = None if is_plain else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, represent)
    made: str = yaml.dump(
        value,
        Dumper=Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=1_000_000,
        default_flow_style=False,
    )
    return made

"""The new model's scores as `.eval_results/*.yaml`, by which the Hub shows them on its leaderboards.

An entry belongs to a benchmark that is registered on the Hub, under the benchmark's id and the task's.
Which suite is which benchmark no log tells for sure, so whoever asks for the file says it, and suites
that nobody named are left out. A value is the accuracy (or the mean score) of the new model on all
pairs. The flips against the old model belong to no benchmark and stand among the notes.
Format: hub-docs `eval_results.yaml`; read by `huggingface_hub.parse_eval_result_entries`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from muscle_gov import Report, hookimpl
from muscle_gov.errors import UsageError
from muscle_gov.text import one_line
from muscle_gov_plugins._model_index import header_of, hub_id, is_blocked, rounded, yaml_text

if TYPE_CHECKING:
    from muscle_gov.data import Measure, SuiteFigures

_TASK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII)
_NOTES = 400


@hookimpl
def register_reports() -> dict[str, type]:
    return {"eval-results": EvalResultsReport}


@dataclass(frozen=True)
class EvalResultsReport:
    """Scores for a model's `.eval_results` on the Hugging Face Hub, of suites that are benchmarks."""

    benchmarks: tuple[str, ...] = ()
    """Which suites are which benchmarks of the Hub, each as `SUITE=OWNER/DATASET:TASK`, such as
    `gpqa=Idavidrein/gpqa:gpqa_diamond`. At least one is required."""
    percent: bool = False
    """Write accuracy in percent, where the benchmark's leaderboard does; else as a share."""
    source: str | None = None
    """Web address of the report, which the Hub links the results to."""

    suffix: ClassVar[str] = ".yaml"

    def __post_init__(self) -> None:
        if not self.benchmarks:
            raise ValueError(
                "benchmarks: say which suite is which benchmark of the Hub, as SUITE=OWNER/DATASET:TASK"
            )
        if self.source is not None and not self.source.startswith(("https://", "http://")):
            raise ValueError(f"source: {self.source!r} is no web address; give one like https://…")
        named = [_benchmark(one) for one in self.benchmarks]
        if len({suite for suite, _, _ in named}) < len(named):
            raise ValueError("benchmarks: a suite is named twice")

    def render(self, report: Report) -> bytes:
        suites = {figures.suite: figures for figures in report.comparison.suites}
        entries = []
        for suite, dataset, task in map(_benchmark, self.benchmarks):
            if suite not in suites:
                known = ", ".join(one_line(name, 60) for name in suites) or "none"
                raise UsageError(f"benchmarks: the comparison has no suite {suite!r}; it has {known}")
            entries.append(self._entry(report, suites[suite], dataset, task))
        return yaml_text(entries).encode()

    def _entry(
        self, report: Report, figures: SuiteFigures, dataset: str, task: str
    ) -> Mapping[str, Any]:
        level = figures.measures.get("accuracy_new" if figures.kind == "binary" else "score_new")
        if level is None or level.value is None:
            raise UsageError(f"benchmarks: nothing was measured on {figures.suite!r}; leave it out")
        factor = 100 if self.percent and figures.kind == "binary" else 1
        entry: dict[str, Any] = {
            "dataset": {"id": dataset, "task_id": task},
            "value": rounded(factor * level.value),
        }
        # when the model was asked; of a log that does not tell, the Hub takes the day of the upload
        started = header_of(report.comparison, figures.suite, 1).get("started")
        if isinstance(started, str) and _MOMENT.fullmatch(started):
            entry["date"] = started
        if self.source is not None:
            entry["source"] = {"url": self.source, "name": "muscle-gov"}
        entry["notes"] = one_line("; ".join(_notes(report, figures, level)), _NOTES)
        return entry


def _benchmark(text: str) -> tuple[str, str, str]:
    """Suite, data set and task. The suite's name may hold any sign, those of the Hub may not."""
    suite, _, benchmark = text.rpartition("=")
    dataset, _, task = benchmark.partition(":")
    if not suite or hub_id(dataset) is None or not _TASK.fullmatch(task):
        raise ValueError(f"benchmarks: {text!r} must read SUITE=OWNER/DATASET:TASK")
    return suite, dataset, task


def _notes(report: Report, figures: SuiteFigures, level: Measure) -> Iterator[str]:
    comparison = report.comparison
    interval = (
        "" if level.low is None else f", {100 * comparison.confidence:.4g} % interval {_bounds(level)}"
    )
    yield f"n={level.n}{interval}"
    blocked = is_blocked(report.verdict.findings, figures.suite)
    worse = figures.measures.get("nfr" if figures.kind == "binary" else "regression_rate")
    if not blocked and worse is not None and worse.value is not None:
        name = "negative flip rate" if figures.kind == "binary" else "share of scores that fell"
        bounds = "" if worse.low is None else f" {_bounds(worse)}"
        yield f"{name} {worse.value:.4g}{bounds} against {one_line(comparison.old.name, 80)}"
    yield f"muscle-gov {one_line(comparison.tool_version, 20)}"


def _bounds(measure: Measure) -> str:
    return f"[{measure.low:.4g}, {measure.high:.4g}]"

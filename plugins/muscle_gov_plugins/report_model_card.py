"""The new model's evaluation results as a model card of the Hugging Face Hub: a YAML head, then a table.

The head is what the Hub reads; the table is for people. Nothing of the card is about anything but the
evaluation, so that it can be put into a card that is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from muscle_gov import Report, hookimpl
from muscle_gov_plugins._markdown_figures import figure
from muscle_gov_plugins._markdown_text import prose, row, span, table
from muscle_gov_plugins._model_index import TASK, is_blocked, model_index, yaml_text

if TYPE_CHECKING:
    from muscle_gov.data import SuiteFigures

_NAME = 120
_COLUMNS = {
    "binary": ("accuracy_new", "accuracy_delta", "nfr", "pfr"),
    "graded": ("score_new", "score_delta", "regression_rate", "gain_rate"),
}


@hookimpl
def register_reports() -> dict[str, type]:
    return {"model-card": ModelCardReport}


@dataclass(frozen=True)
class ModelCardReport:
    """Evaluation results for a model card: the `model-index` that the Hub reads, and a table."""

    model: str | None = None
    """Name of the model in the card; the new model's own if not given."""
    task: str = TASK
    """The task, by the Hub's name of it."""
    source: str | None = None
    """Web address of the report, which the Hub links the results to."""

    suffix: ClassVar[str] = ".md"

    def __post_init__(self) -> None:
        if self.source is not None and not self.source.startswith(("https://", "http://")):
            raise ValueError(f"source: {self.source!r} is no web address; give one like https://…")
        for name in ("model", "task"):
            given = getattr(self, name)
            if given is not None and not given.strip():
                raise ValueError(f"{name}: must not be empty")

    def render(self, report: Report) -> bytes:
        comparison = report.comparison
        name = self.model or comparison.new.name
        index = model_index(comparison, name, self.task, self.source, report.verdict.findings)
        head = f"---\n{yaml_text({'model-index': index})}---\n\n"
        return (head + _body(report)).encode()


def _body(report: Report) -> str:
    comparison, verdict = report.comparison, report.verdict
    listed = [*comparison.suites, *([comparison.total] if comparison.total else [])]
    names = ("Suite", "Pairs", "Accuracy or score", "Change", "Worse", "Better")
    findings = verdict.findings
    rows = "".join(_row(one, is_blocked(findings, one.suite)) for one in listed)
    return (
        "## Evaluation\n\n"
        f"Compared with {span(comparison.old.name, _NAME)}, answer by answer. "
        f"**{verdict.status.value}:** {prose(verdict.reason)}\n\n"
        f"{table(*names, right=names[1:])}{rows}\n"
        f"In brackets: {100 * comparison.confidence:.4g} % intervals. Worse is the negative flip rate "
        "(NFR), the share of answers that the old model has right and this one wrong, or the share of "
        "scores that fell; Better the reverse.\n\n"
        f"Measured by muscle-gov {span(comparison.tool_version, _NAME)}, comparison "
        f"{span(comparison.id, _NAME)}, {span(comparison.created, _NAME)}.\n"
    )


def _row(figures: SuiteFigures, only_level: bool) -> str:
    level, *against = _COLUMNS[figures.kind]
    measured = [figure(figures, level)]
    measured += ["∅" if only_level else figure(figures, name) for name in against]
    return row(span(figures.suite, _NAME), f"{figures.n_pairs:,}", *measured)

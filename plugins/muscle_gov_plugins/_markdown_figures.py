"""Figures in the Markdown report: short, with their interval, and `∅` for what is not known."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from muscle_gov.data import SuiteFigures

MARKS = {
    "PASS": "✅",
    "FAIL": "❌",
    "INCONCLUSIVE": "❔",
    "INCOMPARABLE": "⛔",
    "NOT JUDGED": "⚪",
}
"""A sign beside the word of each verdict."""


def value_of(figures: SuiteFigures, metric: str) -> float | None:
    measure = figures.measures.get(metric)
    return None if measure is None else measure.value


def figure(figures: SuiteFigures, metric: str) -> str:
    """`57.6 % [53.4, 61.8]`, `+2.1 pp [−0.3, +4.5]`; scores on a scale keep their own unit."""
    measure = figures.measures.get(metric)
    if measure is None or measure.value is None:
        return "∅"
    write, unit = (percent, " %") if not metric.startswith("score_") else (number, "")
    if metric == "accuracy_delta":
        unit = " pp"
    is_change = metric.endswith("_delta")

    def signed(value: float) -> str:
        return ("+" if is_change and value > 0 else "") + write(value)

    text = f"{signed(measure.value)}{unit}"
    if measure.low is None or measure.high is None:
        return text
    return f"{text} [{signed(measure.low)}, {signed(measure.high)}]"


def number(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")


def percent(share: float) -> str:
    """A share in percent; small ones keep two digits, since 0.04 is not nothing."""
    points = 100 * share + 0.0  # no minus zero
    shown = f"{points:.1f}" if abs(points) >= 0.995 or points == 0 else f"{points:.2g}"
    return shown.replace("-", "−")


def p_text(p_value: float | None) -> str:
    if p_value is None:
        return "∅"
    return "< 0.0001" if p_value < 0.0001 else f"{p_value:.3g}"

"""Axes of a drawing: where they begin and end, and which round values stand at them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from muscle_gov.data import Measure
from muscle_gov.report import words


@dataclass(frozen=True)
class Span:
    """One axis: its values, and where their ends lie in the picture."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def ends_of(measure: Measure) -> list[float]:
    return [v for v in (measure.value, measure.low, measure.high) if v is not None and math.isfinite(v)]


def x_range(figures: Iterable[Measure], noise: float, limits: Iterable[float]) -> tuple[float, float]:
    """From zero to the farthest end, limits that are not too far off among them."""
    reach = max([0.005, noise, *(end for one in figures for end in ends_of(one))])
    return 0.0, max([reach, *(limit for limit in limits if 0 <= limit <= 2 * reach)]) * 1.06


def y_range(figures: Iterable[Measure], lines: Iterable[float], unit: words.Unit) -> tuple[float, float]:
    """All ends with some air, at least two points of a share; lines that lie no range away."""
    ends = [end for one in figures for end in ends_of(one)]
    low, high = min(ends), max(ends)
    least = 0.02 if unit == "share" else 0.02 * max(abs(low), abs(high)) or 1.0
    if high - low < least:
        middle = (low + high) / 2
        low, high = middle - least / 2, middle + least / 2
    room = high - low
    near = [value for value in lines if low - room <= value <= high + room]
    low, high = min([low, *near]), max([high, *near])
    air = 0.07 * (high - low)
    return low - air, high + air


def ticks(low: float, high: float, most: int, unit: words.Unit) -> list[tuple[float, str]]:
    """Round values within the range, with their unit; of a share only those from 0 to 100 %."""
    step = _step((high - low) / most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    scale = 100 if unit == "share" else 1
    places = max(0, -math.floor(math.log10(step * scale) + 1e-9))
    found = []
    for i in range(first, last + 1):
        value = i * step
        if unit == "share" and not -1e-9 <= value <= 1 + 1e-9:
            continue
        number = f"{value * scale + 0.0:,.{places}f}".replace("-", words.MINUS)
        found.append((value, f"{number}{words.THIN}%" if unit == "share" else number))
    return found


def _step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(s for s in (1, 2, 5, 10) if s * power >= least * (1 - 1e-9)) * power

"""How the report writes numbers and names: one rule each, so that no two places differ.

A number is never rounded into a claim: what is not zero is not printed as 0 %, what is not all is not
printed as 100 %, and a bound that lies beyond its limit never looks equal to it. Names of metrics
come from the table below; a plugin's metric that is not in it is shown under its own name, as it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from muscle_gov.data import Measure

Unit = Literal["share", "points", "ratio", "score", "signed score", "count", "plain"]
NOT_KNOWN = "–"
MINUS = "\u2212"
THIN = "\u202f"
"""Narrow no-break space: stands between a number and its unit."""


@dataclass(frozen=True)
class MetricWords:
    """What the report says about a metric."""

    title: str
    unit: Unit = "plain"
    formula: str = ""
    meaning: str = "Offered by a plugin; its docstring defines it."
    source: str = ""
    full: str = ""
    """What the title is short for; empty where it is no abbreviation."""

    @property
    def spelled(self) -> str:
        """`Negative flip rate (NFR)`, for where it first stands."""
        return f"{self.full} ({self.title})" if self.full else self.title


METRICS: Mapping[str, MetricWords] = {
    "accuracy_old": MetricWords(
        "Accuracy, old",
        "share",
        "(right→right + right→wrong) / N",
        "Share of the pairs that the old model answered right.",
    ),
    "accuracy_new": MetricWords(
        "Accuracy, new",
        "share",
        "(right→right + wrong→right) / N",
        "Share of the pairs that the new model answered right.",
    ),
    "accuracy_delta": MetricWords(
        "Δ accuracy",
        "points",
        "accuracy, new − accuracy, old = PFR − NFR",
        "The net change, in percentage points. Flips one way hide flips the other way in it.",
    ),
    "nfr": MetricWords(
        "NFR",
        "share",
        "right→wrong / N",
        "Negative flip rate: share of all pairs that were right and are wrong now.",
        "Yan et al. 2021, arXiv:2011.09161",
        "Negative flip rate",
    ),
    "pfr": MetricWords(
        "PFR",
        "share",
        "wrong→right / N",
        "Positive flip rate: share of all pairs that were wrong and are right now.",
        "Yan et al. 2021, arXiv:2011.09161",
        "Positive flip rate",
    ),
    "nfr_mc": MetricWords(
        "NFR_mc",
        "share",
        "(right→wrong + wrong→wrong with another answer) / N",
        "Share of the pairs that are wrong now with another answer than before.",
        "MUSCLE, arXiv:2407.09435",
        "Negative flip rate, multiple choice",
    ),
    "nfi": MetricWords(
        "NFI",
        "share",
        "right→wrong / (right→wrong + wrong→wrong)",
        "Negative flip impact: share of the new model's errors that the old one did not make.",
        "Cai et al. 2022",
        "Negative flip impact",
    ),
    "relative_nfr": MetricWords(
        "Relative NFR",
        "ratio",
        "NFR / (accuracy, old × (1 − accuracy, new))",
        "Flips against those of two unrelated models of the same accuracies; 1 is as many.",
        "Yan et al. 2021, arXiv:2011.09161",
    ),
    "btc": MetricWords(
        "BTC",
        "share",
        "right→right / (right→right + right→wrong)",
        "Backward trust compatibility: share of the pairs right before that are right still.",
        "Srivastava et al. 2020",
        "Backward trust compatibility",
    ),
    "bec": MetricWords(
        "BEC",
        "share",
        "wrong→wrong / (wrong→wrong + wrong→right)",
        "Backward error compatibility: share of the pairs wrong before that are wrong still.",
        "Srivastava et al. 2020",
        "Backward error compatibility",
    ),
    "noise_floor": MetricWords(
        "Noise floor",
        "share",
        "chance that two runs of one model are right, then wrong",
        "What NFR would be without any update. Needs repeats.",
    ),
    "nfr_excess": MetricWords(
        "NFR above noise",
        "points",
        "NFR − noise floor",
        "The flips that the update itself caused, in percentage points. Needs repeats.",
    ),
    "reliable_nfr": MetricWords(
        "Reliable NFR",
        "share",
        "pairs found by Fisher's exact test, after Benjamini-Hochberg / N",
        "Share of the pairs whose chance of a right answer surely fell. Needs repeats.",
    ),
    "robust_nfr": MetricWords(
        "Robust NFR",
        "share",
        "right in every old repeat, wrong in some new one / N",
        "Share of the pairs that were always right and are not always right now. Needs repeats.",
    ),
    "score_old": MetricWords(
        "Score, old", "score", "Σ old score / N", "Mean score of the old model, in the suite's unit."
    ),
    "score_new": MetricWords(
        "Score, new", "score", "Σ new score / N", "Mean score of the new model, in the suite's unit."
    ),
    "score_delta": MetricWords(
        "Δ score",
        "signed score",
        "score, new − score, old (turned round where lower is better)",
        "Mean improvement, in the suite's unit; above 0 the new model is better.",
    ),
    "regression_rate": MetricWords(
        "Regression rate",
        "share",
        "pairs whose score got worse / N",
        "The graded negative flip rate; by however little counts.",
        "MUSCLE, arXiv:2407.09435",
    ),
    "gain_rate": MetricWords(
        "Gain rate", "share", "pairs whose score got better / N", "By however little counts."
    ),
    "regression_magnitude": MetricWords(
        "Regression magnitude",
        "score",
        "Σ worsening / pairs that got worse",
        "Mean worsening of the pairs that got worse, in the suite's unit.",
        "MUSCLE, arXiv:2407.09435",
    ),
    "gain_magnitude": MetricWords(
        "Gain magnitude",
        "score",
        "Σ improvement / pairs that got better",
        "Mean improvement of the pairs that got better, in the suite's unit.",
        "MUSCLE, arXiv:2407.09435",
    ),
    "must_not_regress": MetricWords(
        "Must not regress",
        "count",
        "number of listed instances with right→wrong",
        "Instances of a list that were right and are wrong now; not a share, since none may.",
    ),
}


def words_of(metric: str) -> MetricWords:
    return METRICS.get(metric, MetricWords(metric))


# ------------------------------------------------------------------------------------------ numbers


def count(n: float) -> str:
    return f"{n:,.0f}"


def _signed(text: str) -> str:
    return text.replace("-", MINUS)


def _hundredfold(share: float, decimals: int) -> str:
    """Without its unit; as many more decimals as keep it from a false 0 or 100."""
    if share in (0.0, 1.0):
        return f"{share * 100:.0f}"
    text = ""
    for places in range(decimals, 8):
        text = f"{share * 100:.{places}f}"
        if abs(float(text)) not in (0.0, 100.0) or abs(share) == 1:
            break
    return _signed(text)


def percent(share: float, decimals: int = 1) -> str:
    """6.7 %"""
    return f"{_hundredfold(share, decimals)}{THIN}%"


def points(share: float, decimals: int = 1) -> str:
    """+1.8 pp, a difference of two shares in percentage points"""
    sign = "+" if share > 0 else ""
    return f"{sign}{_hundredfold(share, decimals)}{THIN}pp"


def decimals_of(measure: Measure) -> int:
    """As many as the width of the interval carries, two at the narrow end; for scores of any unit."""
    if measure.low is None or measure.high is None or measure.high <= measure.low:
        return 3
    if not math.isfinite(measure.high - measure.low):
        return 2
    return min(6, max(0, 1 - math.floor(math.log10((measure.high - measure.low) / 2))))


def number(value: float, unit: Unit, decimals: int) -> str:
    """One value in the metric's unit; `decimals` is for units that have no fixed one."""
    if unit == "share":
        return percent(value)
    if unit == "points":
        return points(value)
    if unit == "ratio":
        return _signed(f"{value:.2f}")
    if unit == "count" and value == round(value):
        return _signed(count(value))
    if not math.isfinite(value) or abs(value) >= 1e9:
        return _signed(f"{value:.4g}")
    sign = "+" if unit == "signed score" and value > 0 else ""
    return sign + _signed(f"{value:,.{decimals}f}")


def interval(measure: Measure, unit: Unit) -> str:
    """13.4 to 28.1 %, or nothing where there is none."""
    if measure.low is None or measure.high is None:
        return ""
    decimals = decimals_of(measure)
    low, high = number(measure.low, unit, decimals), number(measure.high, unit, decimals)
    for suffix in (f"{THIN}%", f"{THIN}pp"):
        low = low.removesuffix(suffix)
    return f"{low} to {high}"


def spoken(measure: Measure, metric: str, confidence: str) -> str:
    """The figure in a sentence, for those who cannot see its bar."""
    words = words_of(metric)
    if measure.value is None:
        return f"{words.title}: {measure.method or 'not known'}"
    text = f"{words.title} {number(measure.value, words.unit, decimals_of(measure))}"
    reach = interval(measure, words.unit)
    return f"{text}, {confidence} interval {reach}" if reach else f"{text}, no interval"


def apart(value: float, limit: float, unit: Unit, decimals: int = 3) -> str:
    """The value in as many digits as show on which side of the limit it lies."""
    if unit == "count" and value == round(value):
        return _signed(count(value))
    if unit not in ("share", "points"):
        for places in range(decimals, 10):
            if value == limit or f"{value:.{places}f}" != f"{limit:.{places}f}":
                return number(value, "plain", places)
        return _signed(repr(value))
    write = percent if unit == "share" else points
    for places in range(1, 10):
        if value == limit or f"{value * 100:.{places}f}" != f"{limit * 100:.{places}f}":
            return write(value, places)
    return write(value, 10)


def short_digests(text: str) -> str:
    """Each long digest by its beginning, for sentences; the page has the whole ones in tables."""
    return _DIGEST.sub(lambda match: f"{match[0][:SHOWN_OF_A_DIGEST]}…", text)


_DIGEST = re.compile(r"\b[0-9a-fA-F]{32,}\b…?")
SHOWN_OF_A_DIGEST = 12


def sentence(text: str, names: Iterable[str] = ()) -> str:
    """With a capital letter, unless it begins with a name, which stays as it is."""
    if any(name and text.startswith((f"{name}:", f"{name} [")) for name in names):
        return text
    return text[:1].upper() + text[1:]


def limit_text(limit: float, unit: Unit) -> str:
    """A limit as its author wrote it, in the metric's unit."""
    if unit == "share":
        return f"{_signed(f'{limit * 100:.10g}')}{THIN}%"
    if unit == "points":
        return f"{'+' if limit > 0 else ''}{_signed(f'{limit * 100:.10g}')}{THIN}pp"
    return _signed(f"{limit:.10g}")


def p_text(p: float | None) -> str:
    if p is None:
        return NOT_KNOWN
    if p < 0.0001:
        return "< 0.0001"
    if p < 0.001:
        return f"{p:.4f}"
    if p < 0.0995:
        return f"{p:.3f}"
    if 0.995 <= p < 1:
        return "> 0.99"
    return "1" if p >= 1 else f"{p:.2f}"


def moment(text: str) -> str:
    """2026-11-20 16:48 UTC of an ISO time; whatever else it is, as it is."""
    if re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d", text):
        return f"{text[:10]} {text[11:16]}{' UTC' if text.endswith('Z') else ''}"
    return text


def listed(names: Sequence[str], most: int = 3) -> str:
    """a, b, c and 4 more"""
    more = f" and {count(len(names) - most)} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def plural(n: float, one: str, many: str = "") -> str:
    """1 flip, 2 flips"""
    return f"{count(n)} {one if n == 1 else many or f'{one}s'}"


# --------------------------------------------------------------------------------------------- text


def clip(text: str, most: int) -> str:
    """Its beginning and its end (where answers stand), with a note of what was left out between."""
    if len(text) <= most:
        return text
    head = most // 3
    tail = most - head
    note = f"\n[… {count(len(text) - most)} characters left out …]\n"
    return text[:head] + note + text[len(text) - tail :]


def plain(value: Any) -> str:
    """A value of a run's header in words."""
    if value is None or value == {} or value == []:
        return "not recorded"
    if value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(repr(item) if isinstance(item, str) else plain(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {plain(item)}" for name, item in sorted(value.items()))
    return str(value)

"""Which of a sample's scores decides in a log of Inspect, and what it says.

C, I, P and N stand for 1, 0, 0.5 and 0 as in Inspect's own `value_to_float`; but where that turns
an unknown value into 0, the answer is here unscored, as it is for NaN, Inspect's sign for unscored.
A sample that an error halted is an error even if `score_on_error` gave it a score.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from muscle_gov import BadLine, InputError, Outcome, outcome_of
from muscle_gov.logs import as_score, as_text
from muscle_gov_plugins._inspect_logs import Log, mapping

_LETTERS = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
_TRUTHS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}


class Scoring(NamedTuple):
    """Which of a sample's scores decides."""

    scorer: str | None
    others: tuple[str, ...]
    key: str | None
    cluster: str | None
    has_epochs: bool


def scoring_of(file: Path, log: Log, scorer: str | None, value: str | None) -> Scoring:
    """What decides in a log; without `scorer` the task's first one.

    Raises InputError where there is no such scorer, or it gives no such value.
    """
    scores = next((found for found in islice(_scored(log), 50) if found), {})
    names = _scorer_names(log.data, scores)
    if scorer is not None and scorer not in names:
        there = ", ".join(names) if names else "none"
        raise InputError(f"{file}: has no scorer {scorer!r}; its scorers are: {there}")
    name = scorer or (names[0] if names else None)
    first = mapping(scores.get(name or ""))
    if value is not None and first and not _has_key(first.get("value"), value):
        shape = _shape(first.get("value"))
        raise InputError(f"{file}: the scorer {name!r} gives no value {value!r}; it gives {shape}")
    others = tuple(other for other in names if other != name)
    return Scoring(name, others, value, _cluster(definition(log.data, name)), log.has_epochs)


def _scored(log: Log) -> Iterator[Mapping[str, Any]]:
    for found in log.samples():
        yield {} if isinstance(found, BadLine) else mapping(found[1].get("scores"))


def _scorer_names(data: Mapping[str, Any], scores: Mapping[str, Any]) -> list[str]:
    """Those of a scored sample, the task's declared scorers first; without one, the declared."""
    scorers = mapping(data.get("eval")).get("scorers") or ()
    declared = [_unqualified(mapping(one).get("name")) for one in scorers]
    names = dict.fromkeys([name for name in declared if name in scores] + list(scores))
    return list(names or dict.fromkeys(declared))


def _unqualified(name: Any) -> str:
    """Headers name a scorer with its package, samples without."""
    return str(name).rpartition("/")[2]


def definition(data: Mapping[str, Any], scorer: str | None) -> Mapping[str, Any]:
    """What the header says of a scorer; empty if it does not declare it."""
    for one in mapping(data.get("eval")).get("scorers") or ():
        if _unqualified(mapping(one).get("name")) == scorer:
            return mapping(one)
    return {}


def _cluster(stated: Mapping[str, Any]) -> str | None:
    """The metadata field that Inspect itself was told to cluster the standard error by."""
    metrics = stated.get("metrics")
    for metric in metrics if isinstance(metrics, list) else ():
        cluster = mapping(mapping(metric).get("options")).get("cluster")
        if isinstance(cluster, str):
            return cluster
    return None


def judged(
    sample: Mapping[str, Any], scores: Mapping[str, Any], scoring: Scoring
) -> tuple[Outcome, float | None, str | None]:
    """(state, score, why there is none) of a sample."""
    if sample.get("error"):
        message = mapping(sample["error"]).get("message") or sample["error"]
        return Outcome.ERROR, None, as_text(message)
    if sample.get("invalidation"):
        reason = mapping(sample["invalidation"]).get("reason") or "no reason given"
        return Outcome.UNSCORED, None, f"invalidated: {reason}"
    found = scores.get(scoring.scorer) if scoring.scorer else None
    if found is None:
        limit = mapping(sample.get("limit")).get("type")
        halted = f"; the sample hit its {limit} limit" if limit else ""
        return Outcome.UNSCORED, None, f"not scored by {scoring.scorer or 'any scorer'}{halted}"
    value, key = found["value"], scoring.key
    if key is not None:
        if not _has_key(value, key):
            return Outcome.UNSCORED, None, f"there is no value {key!r}, but {_shape(value)}"
        value = value[int(key)] if isinstance(value, list) else value[key]
    score = _number(value)
    why = _why_unscored(value, found.get("explanation")) if score is None else None
    return outcome_of(score), score, why


def other_scores(scores: Mapping[str, Any], scoring: Scoring) -> dict[str, float]:
    """All numbers of a sample but the one that decides, as `scorer` or `scorer/key`."""
    found: dict[str, float] = {}
    for name, score in scores.items():
        value = mapping(score).get("value")
        for key, part in value.items() if isinstance(value, dict) else [(None, value)]:
            number = _number(part)
            if number is not None and (name, key) != (scoring.scorer, scoring.key):
                found[f"{name}/{key}" if key else name] = number
    return found


def _number(value: Any) -> float | None:
    if not isinstance(value, str):
        return as_score(value)
    known = _LETTERS.get(value, _TRUTHS.get(value.lower()))
    if known is not None:
        return known
    try:
        return as_score(float(value))
    except ValueError:
        return None


def _why_unscored(value: Any, explanation: Any) -> str:
    if isinstance(value, dict | list):
        return f"the scorer gave {_shape(value)}; choose one with the option `value`"
    if value is None or value != value:
        return f"left unscored by the scorer: {explanation or 'it gave no explanation'}"
    return f"the value {as_text(value)!r} is no score"


def _has_key(value: Any, key: str) -> bool:
    if isinstance(value, list):
        return key.isdecimal() and int(key) < len(value)
    return isinstance(value, dict) and key in value


def _shape(value: Any) -> str:
    if isinstance(value, dict):
        return f"several values: {', '.join(value)}"
    if isinstance(value, list):
        return f"a list of {len(value)} values"
    return f"a single value ({as_text(value)})"

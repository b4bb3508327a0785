"""Reads the logs of Inspect (`inspect_ai`): `.eval` archives, `.json` logs, or a directory of them.

Identity is the content: input, target and choices, with the random message ids left out and
`attachment://` references replaced by what they stand for. The sample's id is the key, its epoch
the repeat. A retried task keeps its task id, so of its attempts only the good one is read. What the
model was sent are the messages before its first own one; few-shot answers are the dataset's.
Format: src/inspect_ai/log/_log.py and log/_recorders of inspect_ai, checked against files written
by 0.3.138 and 0.3.285.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from muscle_gov import BadLine, InputError, Outcome, RecordedRow, RecordedRun, hookimpl
from muscle_gov.logs import as_text, content_hash
from muscle_gov_plugins._inspect_header import LONGEST_TAG, run_header
from muscle_gov_plugins._inspect_logs import (
    Log,
    candidates,
    is_log,
    latest_attempts,
    mapping,
    open_log,
    output_of,
    resolved,
    said,
    sent_to_model,
    shown,
)
from muscle_gov_plugins._inspect_scoring import Scoring, judged, other_scores, scoring_of

_FAULTS = (
    KeyError,
    TypeError,
    ValueError,
    IndexError,
    AttributeError,
    OverflowError,
    InputError,
)
"""What a sample that is none makes the reader raise."""


@hookimpl
def register_readers() -> dict[str, type]:
    return {"inspect": InspectReader}


@dataclass(frozen=True)
class InspectReader:
    """Inspect (inspect_ai): an `.eval` or `.json` log, or a directory of logs."""

    scorer: str | None = None
    """The scorer that decides right or wrong; default: the task's first one."""
    value: str | None = None
    """Key (or index) of the number that decides, where a scorer gives several values at once."""
    model: str | None = None
    """Read only the logs of this model, where a directory holds several."""

    def detect(self, path: Path) -> bool:
        try:
            return any(is_log(file) for file in islice(candidates(path), 200))
        except OSError:
            return False

    def read(self, path: Path) -> Iterator[RecordedRun]:
        files = [file for file in candidates(path) if is_log(file)] if path.is_dir() else [path]
        if not files:
            raise InputError(f"{path}: holds no .eval or .json log of Inspect")
        kept = latest_attempts(files, self.model)
        if not kept:
            raise InputError(f"{path}: holds no log of the model {self.model!r}")
        for file, notes in kept:
            log = open_log(file)
            scoring = scoring_of(file, log, self.scorer, self.value)
            yield RecordedRun(run_header(log, scoring, notes), _rows(log, scoring), (file,))


def _rows(log: Log, scoring: Scoring) -> Iterator[RecordedRow | BadLine]:
    for found in log.samples():
        if isinstance(found, BadLine):
            yield found
            continue
        where, sample = found
        row: RecordedRow | BadLine
        try:
            row = _row(sample, scoring)
        except _FAULTS as error:
            row = BadLine(where, f"not a sample as Inspect logs it: {error!r}")
        yield row


def _row(sample: dict[str, Any], scoring: Scoring) -> RecordedRow:
    texts = sample.get("attachments") or {}
    scores, metadata = sample.get("scores") or {}, sample.get("metadata") or {}
    outcome, score, why = judged(sample, scores, scoring)
    sent = [said(message, texts) for message in sent_to_model(sample)]
    output = output_of(sample.get("output") or {}, texts)
    answer = resolved(mapping(scores.get(scoring.scorer or "")).get("answer"), texts)
    if answer is None and outcome is not Outcome.ERROR:
        answer = output
    target = resolved(sample["target"], texts)
    asked = sample["input"]
    item = [said(message, texts) for message in asked] if isinstance(asked, list) else asked
    return RecordedRow(
        key=str(sample["id"]),
        outcome=outcome,
        score=score,
        answer=as_text(answer),
        content_hash=content_hash(resolved(item, texts), target, sample.get("choices")),
        # a sample that failed early may not have come as far as its prompt
        prompt_hash=None if outcome is Outcome.ERROR else content_hash(sent),
        repeat=int(sample["epoch"]) - 1 if scoring.has_epochs else None,
        prompt=shown(sent),
        target=as_text(target[0] if isinstance(target, list) and len(target) == 1 else target),
        output=output,
        scores=other_scores(scores, scoring),
        tags=_tags(sample, metadata),
        cluster=as_text(metadata.get(scoring.cluster)) if scoring.cluster else None,
        why=why,
    )


def _tags(sample: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, str]:
    """Metadata that is one short value; and another model that answered in this one's place."""
    scalars = {k: v for k, v in metadata.items() if isinstance(v, str | int | float)}
    tags = {name: as_text(value) or "" for name, value in scalars.items()}
    tags = {name: text for name, text in tags.items() if len(text) <= LONGEST_TAG}
    for fallback in sample.get("model_fallbacks") or ():
        tags["model_fallback"] = str(fallback.get("fallback_model"))
    return tags

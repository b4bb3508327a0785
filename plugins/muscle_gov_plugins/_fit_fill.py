"""Answers for rows without one: what a model, such as an ensemble of old and new, says itself.

Answers are kept as they come, each under the hash of what was asked, so a run that was interrupted asks
only for the rest. Errors are not kept: they are tried again.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muscle_gov import Loader, ModelError, Output, Request
from muscle_gov.logs import content_hash
from muscle_gov_plugins._fit_encoder import Encoded, Encoder
from muscle_gov_plugins._fit_rows import Row


@dataclass(frozen=True)
class Asking:
    """How a model is asked for answers. What else there is to say, the suites' requests say."""

    temperature: float = 0.0
    """0 takes the likeliest token; with choices, the likeliest choice."""
    top_p: float = 1.0
    seed: int = 0
    limit_tokens: int | None = None
    """Most tokens of a row."""


@dataclass(frozen=True)
class Filled:
    """Rows with answers, in the order of those without."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    """What could not be answered, in sentences for people."""


def fill(
    rows: Sequence[Row],
    asked: Loader,
    encoder: Encoder,
    file: Path,
    asking: Asking,
    watch: Callable[[int, int], None] = lambda _done, _total: None,
) -> Filled:
    """Rows with the answers of the model `asked`, in tokens as `encoder` makes them for the student.

    Texts are written as the suite asks for them (its token limit and stop strings), and end with an
    end-of-text token unless they were cut; of choices, one is taken by its probability, summed over its
    tokens. Answers are kept in `file` (JSON Lines); what another model left there is replaced. `watch`
    is told of rows done and of all. Raises ModelError if no row could be answered.
    """
    if not rows:
        return Filled((), ())
    wanted = [_request(row, asking) for row in rows]
    kept = _Kept(file, _maker(asked))
    missing = [place for place, (key, _) in enumerate(wanted) if key not in kept.found]
    errors: dict[int, str] = {}
    if missing:
        _ask(asked, wanted, missing, kept, errors, lambda left: watch(len(rows) - left, len(rows)))
    watch(len(rows), len(rows))
    there = [place for place in range(len(rows)) if place not in errors]
    answers = [kept.found[wanted[place][0]] for place in there]
    made = encoder.encode(
        [wanted[place][1] for place in there],
        [text for text, _ in answers],
        [finish == "stop" for _, finish in answers],
    )
    found: list[Row] = []
    for place, one in zip(there, made, strict=True):
        problem = _problem(one, asking.limit_tokens)
        if problem is None and isinstance(one, Encoded):
            fresh = dataclasses.replace(rows[place], tokens=one.tokens, prompt=one.prompt, request=None)
            found.append(fresh)
        else:
            errors[place] = problem or "it cannot be read"
    notes = _notes(rows, errors, sum(finish == "length" for _, finish in answers))
    if not found:
        raise ModelError(f"training: none of the {len(rows)} rows without an answer got one: {notes[0]}")
    return Filled(tuple(found), notes)


def _ask(
    asked: Loader,
    wanted: Sequence[tuple[str, Request]],
    missing: Sequence[int],
    kept: _Kept,
    errors: dict[int, str],
    watch: Callable[[int], None],
) -> None:
    left = len(missing)
    with asked.open() as model, kept:
        watch(left)
        for number, output in model.answer([wanted[place][1] for place in missing]):
            place = missing[number]
            key, request = wanted[place]
            if output.error is not None:
                errors[place] = output.error
            else:
                kept.add(key, *_answer(request, output))
            left -= 1
            watch(left)
    for place in missing:
        if wanted[place][0] not in kept.found:
            errors.setdefault(place, "the model gave no answer")


def _request(row: Row, asking: Asking) -> tuple[str, Request]:
    """(what an answer is kept under, the request)."""
    if row.request is None:
        raise ValueError(f"{row.suite}: row {row.key!r} has an answer")
    most = row.request.max_tokens
    if asking.limit_tokens is not None:
        most = min(most, asking.limit_tokens - len(row.tokens) - 1)
    own_seed = int(content_hash([asking.seed, row.content])[:8], 16)
    request = row.request._replace(
        max_tokens=max(1, most),
        temperature=asking.temperature,
        top_p=asking.top_p,
        seed=own_seed,
        logprobs=False,
    )
    return content_hash(list(request)), request


def _answer(request: Request, output: Output) -> tuple[str, str]:
    """(text, why it ended)."""
    if request.choices is None:
        return output.text or "", output.finish_reason or "length"
    scores = list(output.choice_logprobs or ())
    best = max(scores)
    if request.temperature > 0:
        weights = [math.exp((score - best) / request.temperature) for score in scores]
        chance = random.Random(request.seed)  # noqa: S311 - no secret
        return chance.choices(request.choices, weights)[0], "choice"
    return request.choices[scores.index(best)], "choice"


def _problem(one: Any, limit: int | None) -> str | None:
    if not isinstance(one, Encoded):
        return str(one.why)
    if len(one.tokens) == one.prompt:
        return "the answer is empty"
    if limit is not None and len(one.tokens) > limit:
        return f"prompt and answer have {len(one.tokens)} tokens, which is more than {limit}"
    return None


def _notes(rows: Sequence[Row], errors: dict[int, str], cut: int) -> tuple[str, ...]:
    notes = []
    if errors:
        first = min(errors)
        notes.append(
            f"{len(errors)} of {len(rows)} rows without an answer got none and are left out; the first "
            f"is {rows[first].key!r} of {rows[first].suite}: {errors[first]}"
        )
    if cut:
        notes.append(
            f"{cut} of {len(rows)} answers that were filled in were cut at the limit of tokens, so they "
            "have no end-of-text token"
        )
    return tuple(notes)


def _maker(asked: Loader) -> str:
    told = dataclasses.asdict(asked.facts())
    del told["name"], told["remarks"]
    return content_hash(json.loads(json.dumps(told, default=str)))


class _Kept:
    """Answers in a file: its first line names the model, each further one holds an answer."""

    def __init__(self, file: Path, maker: str) -> None:
        self.file = file
        self.found: dict[str, tuple[str, str]] = {}
        self._stream: Any = None
        self._head = (json.dumps({"model": maker}) + "\n").encode()
        self._size = self._read()

    def _read(self) -> int:
        """Takes what can be read; gives the length of that."""
        content = self.file.read_bytes() if self.file.is_file() else b""
        if not content.startswith(self._head):
            return 0
        size = len(self._head)
        while (end := content.find(b"\n", size)) >= 0:
            try:
                key, text, finish = json.loads(content[size:end])
                self.found[str(key)] = str(text), str(finish)
            except ValueError:
                break  # torn: it is cut off, and asked for again
            size = end + 1
        return size

    def __enter__(self) -> _Kept:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self.file.open("ab")
        self._stream.truncate(self._size)
        if not self._size:
            self._stream.write(self._head)
        return self

    def add(self, key: str, text: str, finish: str) -> None:
        self.found[key] = text, finish
        self._stream.write((json.dumps([key, text, finish]) + "\n").encode())
        self._stream.flush()

    def __exit__(self, *why: Any) -> None:
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()

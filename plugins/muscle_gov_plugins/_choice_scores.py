"""How likely an answer is, made comparable between answers of different lengths.

A model gives the sum of a choice's token log-probabilities, and that sum favours short choices. Four
ways to make up for it are in use, and they differ in which choice is best; none is right for every
task. What counts as the text of a choice differs between harnesses too (with or without the space
before it), so whoever calls says which text is counted.

A score that would be NaN or infinite is an error here, never a number: who calls reports `unscored`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Normalisation = Literal["none", "char", "token", "pmi"]


def scores(
    logprobs: Sequence[float],
    choices: Sequence[str],
    how: Normalisation,
    tokens: Sequence[int] | None = None,
    bare: Sequence[float] | None = None,
) -> list[float]:
    """One score for each choice, larger is better.

    `logprobs` are the natural logarithms of each choice's probability given the prompt, summed over
    its tokens. By `how`:

    * `none`: as they are.
    * `char`: divided by the number of characters of `choices`, which are the texts that are counted:
      OLMES counts the space before a choice, lm-evaluation-harness (`acc_norm`) does not.
    * `token`: divided by `tokens`, the number of tokens of each choice.
    * `pmi`: less `bare`, the same choices' logarithms given a prompt without the question.

    A choice of probability 0 (minus infinity) is a score like any other under `none`, `char` and
    `token`, as long as some choice has a finite one. Raises ValueError with a short reason for whatever
    cannot be scored: NaN, a probability above 1, minus infinity everywhere or on either side of `pmi`,
    a choice without length, or numbers missing.
    """
    if not choices:
        raise ValueError("there are no choices")
    _of_all("log-probabilities", logprobs, len(choices))
    found = _normalised(logprobs, choices, how, tokens, bare)
    if all(score == -math.inf for score in found):
        raise ValueError("every choice has probability 0")
    return found


def best(found: Sequence[float]) -> int:
    """Place of the largest score; of equal ones the first, as numpy's and torch's argmax have it.

    Raises ValueError if there is none, or one is NaN.
    """
    if not found:
        raise ValueError("there are no scores")
    if any(math.isnan(score) for score in found):
        raise ValueError("a score is not a number")
    return max(range(len(found)), key=found.__getitem__)


def _normalised(
    logprobs: Sequence[float],
    choices: Sequence[str],
    how: Normalisation,
    tokens: Sequence[int] | None,
    bare: Sequence[float] | None,
) -> list[float]:
    if how == "none":
        return list(logprobs)
    if how == "char":
        return _per(logprobs, [len(choice) for choice in choices], "characters")
    if how == "token":
        if tokens is None:
            raise ValueError("the model does not tell how many tokens each choice has")
        if len(tokens) != len(choices):
            raise ValueError(f"{len(tokens)} token counts for {len(choices)} choices")
        return _per(logprobs, tokens, "tokens")
    if how == "pmi":
        if bare is None:
            raise ValueError("the choices' log-probabilities without the question are missing")
        _of_all("log-probabilities without the question", bare, len(choices))
        return [_less(*pair, place) for place, pair in enumerate(zip(logprobs, bare, strict=True), 1)]
    raise ValueError(f"there is no normalisation {how!r}; known are: none, char, token, pmi")


def _of_all(what: str, numbers: Sequence[float], count: int) -> None:
    """Raises ValueError unless there is one logarithm of a probability for each choice."""
    if len(numbers) != count:
        raise ValueError(f"{len(numbers)} {what} for {count} choices")
    for place, number in enumerate(numbers, 1):
        if math.isnan(number):
            raise ValueError(f"choice {place} of the {what} is not a number")
        if number > 1e-3:  # float noise may put a certain choice a little above 0
            raise ValueError(f"choice {place} of the {what} is above 0 ({number:g})")


def _per(logprobs: Sequence[float], lengths: Sequence[int], unit: str) -> list[float]:
    for place, length in enumerate(lengths, 1):
        if length <= 0:
            raise ValueError(f"choice {place} has no {unit} to divide by")
    return [number / length for number, length in zip(logprobs, lengths, strict=True)]


def _less(given: float, bare: float, place: int) -> float:
    if math.isinf(bare) or math.isinf(given):
        raise ValueError(f"choice {place} has probability 0, so its pmi is not defined")
    return given - bare

"""What all graders share: the right answer as they are given it, and how texts are made comparable.

A grader judges; it never guesses. What it cannot judge (no target, a likelihood that is no number) is
unscored, with the reason. An answer that lacks the asked format is another thing: the model was asked
for it and did not give it, so it is wrong, and its answer reads `[invalid]`, as lm-evaluation-harness
has it.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from muscle_gov import Grade, ModelError, Outcome, Output

INVALID = "[invalid]"
"""The answer in which nothing was found."""


class Solution(NamedTuple):
    """What is known of the right answer to one item."""

    texts: tuple[str, ...] = ()
    """The accepted answers; the best of them counts. Empty: the item has no target."""
    value: Any = None
    """The target as it stands in the row, for graders that compare values."""
    choices: tuple[str, ...] = ()
    """The texts of the choices, without what joins them to the prompt."""
    right: tuple[int, ...] = ()
    """Places of the right choices, from 0."""


@dataclass(frozen=True, kw_only=True)
class Grader:
    """Base of the graders; the fields of each are its options."""

    metric: ClassVar[str] = "exact_match"
    others: ClassVar[tuple[str, ...]] = ()
    """Names of the further scores."""
    scores_choices: ClassVar[bool] = False
    """Does it judge log-likelihoods of choices, not generated text?"""
    needs_target: ClassVar[bool] = True

    def metric_name(self) -> str:
        """Name of the primary score."""
        return self.metric

    def other_names(self) -> tuple[str, ...]:
        """Names of the further scores."""
        return self.others

    def package(self) -> str | None:
        """The package that does the work, with its version. Raises ModelError if it is not there."""
        return None

    def judge(self, text: str, solution: Solution) -> Grade:
        """How a generated text is judged."""
        raise NotImplementedError

    def grade(self, outputs: Sequence[Output], solution: Solution) -> Grade:
        """How the outputs for one item are judged."""
        text = outputs[0].text
        if text is None:
            return unscored("the model gave no text")
        if self.needs_target and not solution.texts:
            return unscored("the item has no target")
        return self.judge(text, solution)


def unscored(why: str) -> Grade:
    return Grade(Outcome.UNSCORED, why=why)


def right_or_wrong(is_right: bool, answer: str) -> Grade:
    return Grade(
        Outcome.RIGHT if is_right else Outcome.WRONG, score=1.0 if is_right else 0.0, answer=answer
    )


def graded(score: float, answer: str, threshold: float | None, **others: float) -> Grade:
    """A score on a scale; with a threshold, right from there on."""
    outcome = Outcome.GRADED
    if threshold is not None:
        outcome = Outcome.RIGHT if score >= threshold else Outcome.WRONG
    return Grade(outcome, score=score, answer=answer, scores=others)


def versions(*distributions: str) -> str:
    """`name version` of installed distributions. Raises ModelError naming the extra that brings them."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return ", ".join(f"{name} {version(name)}" for name in distributions)
    except PackageNotFoundError as error:
        raise ModelError(
            f"this grader needs {' and '.join(distributions)}, which is not installed; "
            "pip install 'muscle-gov[scores]'"
        ) from error


def compiled(pattern: str, option: str, ignore_case: bool = False) -> re.Pattern[str]:
    """A regular expression. Raises ValueError naming the option."""
    try:
        return re.compile(pattern, re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        raise ValueError(f"{option}: is no regular expression ({error})") from error


# ------------------------------------------------------------------------------------- normalising

_ARTICLES = re.compile(r"\b(?:a|an|the)\b", re.IGNORECASE)


class _Punctuation(dict[int, int | None]):
    """For `str.translate`: punctuation of every script goes, all else stays."""

    def __missing__(self, code: int) -> int | None:
        character = chr(code)
        goes = character in string.punctuation or unicodedata.category(character)[0] == "P"
        self[code] = found = None if goes else code
        return found


_PUNCTUATION = _Punctuation()


@dataclass(frozen=True, kw_only=True)
class Normalising(Grader):
    """Graders that compare texts, both of them normalised alike."""

    strip: bool = True
    """Leave out white space around the text?"""
    ignore_case: bool = False
    ignore_punctuation: bool = False
    """Leave out punctuation of every script, and ASCII symbols such as `$` and `+`?"""
    ignore_articles: bool = False
    """Leave out a, an and the?"""
    collapse_spaces: bool = False
    """Read any run of white space as one space?"""

    def normal(self, text: str) -> str:
        """The text as it is compared."""
        if self.ignore_case:
            text = text.casefold()
        if self.ignore_punctuation:
            text = text.translate(_PUNCTUATION)
        if self.ignore_articles:
            text = _ARTICLES.sub(" ", text)
        if self.collapse_spaces or self.ignore_articles:
            text = " ".join(text.split()) if self.strip else re.sub(r"\s+", " ", text)
        return text.strip() if self.strip else text

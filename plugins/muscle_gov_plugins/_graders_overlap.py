"""Graders by overlap with a reference, on a scale: `f1`, `rouge`, `bleu`, `chrf`.

Without a threshold an answer is neither right nor wrong, and old and new are compared by their scores.
Each score keeps the scale of the tool that defines it: F1 and ROUGE 0 to 1, BLEU and chrF 0 to 100.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

from muscle_gov import Grade
from muscle_gov_plugins._graders_base import Grader, Solution, graded, versions

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _check(threshold: float | None, most: float) -> None:
    if threshold is not None and not 0 < threshold <= most:
        raise ValueError(f"threshold: must be above 0 and at most {most:g}, not {threshold:g}")


@dataclass(frozen=True, kw_only=True)
class F1(Grader):
    """Token F1 as SQuAD has it: case, punctuation and English articles left out; best reference."""

    metric: ClassVar[str] = "f1"
    others: ClassVar[tuple[str, ...]] = ("exact_match",)

    kind: Literal["f1"] = "f1"
    threshold: float | None = None
    """From which F1 (0 to 1) on an answer is right; default: it is scored on the scale."""

    def __post_init__(self) -> None:
        _check(self.threshold, 1)

    def judge(self, text: str, solution: Solution) -> Grade:
        answer = _squad_tokens(text)
        wanted = [_squad_tokens(target) for target in solution.texts]
        best = max(_f1(answer, target) for target in wanted)
        is_same = float(answer in wanted)
        return graded(best, " ".join(answer), self.threshold, exact_match=is_same)


def _squad_tokens(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def _f1(answer: list[str], target: list[str]) -> float:
    if not answer or not target:
        return float(answer == target)
    common = (Counter(answer) & Counter(target)).total()
    return 2 * common / (len(answer) + len(target))


@dataclass(frozen=True, kw_only=True)
class Rouge(Grader):
    """ROUGE F-measure by the library rouge-score; best reference."""

    others: ClassVar[tuple[str, ...]] = ("rouge1", "rouge2", "rougeL", "rougeLsum")

    kind: Literal["rouge"] = "rouge"
    variant: Literal["rouge1", "rouge2", "rougeL", "rougeLsum"] = "rougeL"
    """Which is the primary score; the others are kept beside it. `rougeLsum` reads each line as a
    sentence."""
    stemmer: bool = False
    """Compare English words by their stems (Porter)?"""
    threshold: float | None = None
    """From which score (0 to 1) on an answer is right; default: it is scored on the scale."""

    def __post_init__(self) -> None:
        _check(self.threshold, 1)

    def metric_name(self) -> str:
        return self.variant

    def other_names(self) -> tuple[str, ...]:
        return tuple(name for name in self.others if name != self.variant)

    def package(self) -> str:
        return versions("rouge-score")

    @cached_property
    def _scorer(self) -> Any:
        self.package()
        from rouge_score.rouge_scorer import RougeScorer

        return RougeScorer(list(self.others), use_stemmer=self.stemmer)

    def judge(self, text: str, solution: Solution) -> Grade:
        found = [self._scorer.score(target, text) for target in solution.texts]
        best = max(found, key=lambda scores: scores[self.variant].fmeasure)
        others = {name: float(best[name].fmeasure) for name in self.other_names()}
        return graded(float(best[self.variant].fmeasure), text.strip(), self.threshold, **others)


@dataclass(frozen=True, kw_only=True)
class Bleu(Grader):
    """Sentence BLEU by sacrebleu (0 to 100), with exponential smoothing and effective order; several
    accepted answers are its several references."""

    metric: ClassVar[str] = "bleu"

    kind: Literal["bleu"] = "bleu"
    tokenize: Literal["13a", "char", "intl", "none", "zh"] = "13a"
    """sacrebleu's tokeniser: `zh` for Chinese, `char` for scripts without spaces."""
    lowercase: bool = False
    threshold: float | None = None
    """From which score (0 to 100) on an answer is right; default: it is scored on the scale."""

    def __post_init__(self) -> None:
        _check(self.threshold, 100)

    def package(self) -> str:
        return versions("sacrebleu")

    @cached_property
    def _scorer(self) -> Any:
        self.package()
        from sacrebleu.metrics import BLEU

        return BLEU(tokenize=self.tokenize, lowercase=self.lowercase, effective_order=True)

    def judge(self, text: str, solution: Solution) -> Grade:
        score = float(self._scorer.sentence_score(text, list(solution.texts)).score)
        return graded(score, text.strip(), self.threshold)


@dataclass(frozen=True, kw_only=True)
class Chrf(Grader):
    """Sentence chrF by sacrebleu (0 to 100); best reference."""

    kind: Literal["chrf"] = "chrf"
    word_order: int = 0
    """0 is chrF, 2 is chrF++."""
    lowercase: bool = False
    threshold: float | None = None
    """From which score (0 to 100) on an answer is right; default: it is scored on the scale."""

    def __post_init__(self) -> None:
        _check(self.threshold, 100)
        if self.word_order < 0:
            raise ValueError(f"word_order: must be 0 or more, not {self.word_order}")

    def metric_name(self) -> str:
        return "chrf" + "+" * self.word_order

    def package(self) -> str:
        return versions("sacrebleu")

    @cached_property
    def _scorer(self) -> Any:
        self.package()
        from sacrebleu.metrics import CHRF

        return CHRF(word_order=self.word_order, lowercase=self.lowercase)

    def judge(self, text: str, solution: Solution) -> Grade:
        score = float(self._scorer.sentence_score(text, list(solution.texts)).score)
        return graded(score, text.strip(), self.threshold)

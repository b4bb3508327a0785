"""Mitigations that are rows of the loss table: MUSCLE, its relatives and its ablations.

They differ in their loss and in nothing else. Each class names its row and has the row's settings for
options, with the row's defaults. The equations are in the rows (`_loss_table`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from muscle_gov import hookimpl
from muscle_gov_plugins._fit_mitigation import CrossEntropy, LossMitigation, Refit
from muscle_gov_plugins._loss_table import ROWS, Cases, LossSettings, Row, Term, When

__all__ = ["ROWS", "Cases", "LossMitigation", "LossSettings", "Row", "Term", "When"]


@hookimpl
def register_mitigations() -> dict[str, type]:
    return {
        "muscle": Muscle,
        "muscle-ll": MuscleLikelihood,
        "muscle-ls": MuscleSequence,
        "v1-correct": OldCorrect,
        "kd-old": DistilOld,
        "kd-old+ce": DistilOldAndTrain,
        "self-distil": DistilSelf,
        "cross-entropy": CrossEntropy,
        "refit": Refit,
        "pct": FocalDistillation,
        "mpt": FocalDistillationFromBoth,
        "rcat": RobustnessCongruent,
        "flipguard": FlipGuard,
        "mixture": DistilMixture,
    }


@dataclass(frozen=True, kw_only=True)
class _Divergence(LossMitigation):
    """With a Kullback-Leibler divergence from teachers."""

    temperature: float = 2.0
    """Scores of teacher and student are divided by it before the softmax."""
    scale_by_t2: bool = False
    """Whether the divergence is multiplied by temperature squared, so that its gradient does not fade
    where the temperature is high. The paper's equation does not."""
    direction: Literal["forward", "reverse"] = "forward"
    """`forward` is KL(teacher || student), `reverse` KL(student || teacher)."""


@dataclass(frozen=True, kw_only=True)
class _Compatibility(_Divergence):
    """As MUSCLE mixes it with cross-entropy."""

    compat_weight: float = 1.0
    """λ of L = λ·L_comp + (1-λ)·L_CE (equations 4 and 5): at 1 there is no cross-entropy."""


@dataclass(frozen=True, kw_only=True)
class Muscle(_Compatibility):
    """MUSCLE (arXiv:2407.09435): each token that the model being trained gets wrong follows the old
    model, every other the update. Wrong is what is wrong now, so it is told anew at each step."""

    row: ClassVar[Row] = ROWS["muscle"]


@dataclass(frozen=True, kw_only=True)
class MuscleLikelihood(_Compatibility):
    """MUSCLE with its mask by likelihood (equation 2): a token follows the old model where that finds it
    likelier than the model being trained does."""

    row: ClassVar[Row] = ROWS["muscle-ll"]

    compat_weight: float = 0.5


@dataclass(frozen=True, kw_only=True)
class MuscleSequence(_Compatibility):
    """MUSCLE with its mask by likelihood over whole sequences (equation 3)."""

    row: ClassVar[Row] = ROWS["muscle-ls"]

    compat_weight: float = 0.5
    reading: Literal["any", "majority"] = "any"
    """When a sequence follows the old model: where any of its tokens became less likely, or most of
    them. The paper does not say which it means."""


@dataclass(frozen=True, kw_only=True)
class OldCorrect(_Compatibility):
    """An ablation of MUSCLE ("v1 = y"): a token follows the old model where that is right."""

    row: ClassVar[Row] = ROWS["v1-correct"]


@dataclass(frozen=True, kw_only=True)
class DistilOld(_Compatibility):
    """Knowledge distillation: every token follows the old model. Brings back its mistakes too."""

    row: ClassVar[Row] = ROWS["kd-old"]


@dataclass(frozen=True, kw_only=True)
class DistilOldAndTrain(_Compatibility):
    """Knowledge distillation from the old model, mixed with cross-entropy on right answers."""

    row: ClassVar[Row] = ROWS["kd-old+ce"]

    compat_weight: float = 0.5


@dataclass(frozen=True, kw_only=True)
class DistilSelf(_Compatibility):
    """A control: every token follows the update itself. With no cross-entropy beside it there is nothing
    to learn, and such a run is refused."""

    row: ClassVar[Row] = ROWS["self-distil"]

    compat_weight: float = 0.5


@dataclass(frozen=True, kw_only=True)
class DistilMixture(_Compatibility):
    """Every token follows a mixture of the old model and the update. See `ensemble-distil`, which also
    chooses the weight and learns from questions without answers."""

    row: ClassVar[Row] = ROWS["mixture"]

    old_weight: float = 0.5
    """The old model's share in the mixture."""


@dataclass(frozen=True, kw_only=True)
class _Focal(_Divergence):
    """Focal distillation beside cross-entropy."""

    temperature: float = 100.0
    scale_by_t2: bool = True
    distance: Literal["kl", "logit-mse", "logit-l2"] = "kl"
    """How far from a teacher the student is: by divergence, or by the squared difference of scores, over
    the number of entries or not."""
    distance_weight: float = 1.0
    """How much the distances count beside a cross-entropy of weight 1."""
    focal_alpha: float = 1.0
    """Weight of the distance at every token."""
    focal_beta: float = 5.0
    """Further weight of the distance where the teacher is right."""


@dataclass(frozen=True, kw_only=True)
class FocalDistillation(_Focal):
    """Positive-congruent training (arXiv:2011.09161): cross-entropy, and a pull to the old model that is
    stronger where that is right."""

    row: ClassVar[Row] = ROWS["pct"]


@dataclass(frozen=True, kw_only=True)
class FocalDistillationFromBoth(_Focal):
    """MPT (AAAI 2026): cross-entropy, and a pull to the old model and to the update, each stronger where
    it is right."""

    row: ClassVar[Row] = ROWS["mpt"]

    temperature: float = 5.0


@dataclass(frozen=True, kw_only=True)
class RobustnessCongruent(LossMitigation):
    """The three terms of robustness-congruent training, on rows as they are: cross-entropy, and the
    squared distance of scores to each model where that is right. Needs all of a teacher's scores."""

    row: ClassVar[Row] = ROWS["rcat"]

    new_weight: float = 0.5
    """Of the distance to the update (a)."""
    old_weight: float = 0.4
    """Of the distance to the old model (b); cross-entropy has what is left of 1."""


@dataclass(frozen=True, kw_only=True)
class FlipGuard(_Divergence):
    """After FlipGuard (EMNLP 2024): cross-entropy, and a pull to the old model at tokens that became
    less likely than they were to it."""

    row: ClassVar[Row] = ROWS["flipguard"]

    temperature: float = 1.0
    distance_weight: float = 1.0
    """How much the pull counts beside a cross-entropy of weight 1."""
    threshold: float = 0.0
    """By how many nats the log-likelihood must have fallen."""

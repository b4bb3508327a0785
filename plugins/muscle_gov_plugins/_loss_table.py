"""One table of losses: for each token, by its case, which teacher counts with what weight.

MUSCLE and its relatives differ in nothing else, so each of them is a row here, and a new one is a few
lines. docs/mitigations/losses.md has them in full, with what the papers leave open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from muscle_gov_plugins._loss_row import Cases, LossSettings, Row, Term, When

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ROWS", "Cases", "LossSettings", "Row", "Term", "When"]

_STUDENT, _OLD, _NEW = frozenset({"student"}), frozenset({"old"}), frozenset({"new"})


def _lost(cases: Cases) -> Tensor:
    """Where the student thinks less of the label than the old model does."""
    return cases.of("student").logp < cases.of("old").logp


def _lost_by_more(cases: Cases, settings: LossSettings) -> Tensor:
    fall = cases.of("old").logp - cases.of("student").logp
    return fall > settings.number("threshold")


def _sequence_lost(cases: Cases, settings: LossSettings) -> Tensor:
    """`_lost` of whole sequences: of one token at least, or of more than half of them."""
    lost = _lost(cases).float()
    empty = lost.new_zeros(int(cases.rows.max()) + 1)  # waits for the device, once in a call
    fallen = empty.index_add(0, cases.rows, lost)
    tokens = empty.index_add(0, cases.rows, lost.new_ones(lost.shape))
    enough = fallen > 0 if settings.reading == "any" else fallen > tokens / 2
    return enough[cases.rows]


EVERYWHERE = When("every token", lambda cases, _: cases.is_answer | True)
STUDENT_WRONG = When("student wrong", lambda cases, _: ~cases.of("student").right, _STUDENT)
STUDENT_RIGHT = When("student right", lambda cases, _: cases.of("student").right, _STUDENT)
OLD_RIGHT = When("old model right", lambda cases, _: cases.of("old").right, _OLD)
OLD_WRONG = When("old model wrong", lambda cases, _: ~cases.of("old").right, _OLD)
NEW_RIGHT = When("new model right", lambda cases, _: cases.of("new").right, _NEW)
LESS_LIKELY = When("less likely than to the old model", lambda cases, _: _lost(cases), _STUDENT | _OLD)
AS_LIKELY = When(
    "at least as likely as to the old model", lambda cases, _: ~_lost(cases), _STUDENT | _OLD
)
MUCH_LESS_LIKELY = When("log-likelihood fallen by more than ε", _lost_by_more, _STUDENT | _OLD)
SEQUENCE_LOST = When(
    "sequence less likely than to the old model", _sequence_lost, _STUDENT | _OLD, of_sequence=True
)
SEQUENCE_KEPT = When(
    "sequence not less likely",
    lambda cases, how: ~_sequence_lost(cases, how),
    _STUDENT | _OLD,
    of_sequence=True,
)


def _one(_: LossSettings) -> float:
    return 1.0


def _set(*names: str) -> Callable[[LossSettings], float]:
    """The product of these settings as a weight."""

    def weight(settings: LossSettings) -> float:
        product = 1.0
        for name in names:
            product *= settings.number(name)
        return product

    return weight


def _what_rcat_leaves(settings: LossSettings) -> float:
    # Rounded, so that a = 0.7 and b = 0.3 leave exactly nothing.
    return round(1 - settings.number("new_weight") - settings.number("old_weight"), 12)


def _focal(teacher: Literal["old", "new"], right: When) -> tuple[Term, Term]:
    """Focal distillation from one teacher: α everywhere, β more where that teacher is right."""
    name = f"distance to {teacher}"
    return (
        Term(name, teacher, EVERYWHERE, _set("distance_weight", "focal_alpha"), None),
        Term(f"{name} where it is right", teacher, right, _set("distance_weight", "focal_beta"), None),
    )


_KL = LossSettings(temperature=2.0, scale_by_t2=False, direction="forward", compat_weight=1.0)
_KL_CE = LossSettings(temperature=2.0, scale_by_t2=False, direction="forward", compat_weight=0.5)
_MUSCLE = "MUSCLE (arXiv:2407.09435)"
_CE = Term("cross-entropy", "gold", EVERYWHERE, _one)


def _switch(to_old: When, to_new: When) -> tuple[Term, Term]:
    """MUSCLE's shape: every token follows the old model or the new one, by its case."""
    return Term("KL to old", "old", to_old, _one), Term("KL to new", "new", to_new, _one)


_ALL = (
    Row(
        "muscle",
        "L = λ·(1/n) Σ_i [ m_i KL(old||C) + (1-m_i) KL(new||C) ] + (1-λ)·CE, m_i = 1[argmax p_C ≠ y_i]",
        f"{_MUSCLE}, equations 1, 4 and 5",
        _switch(STUDENT_WRONG, STUDENT_RIGHT),
        _KL,
    ),
    Row(
        "muscle-ll",
        "as muscle, m_i = 1[p_C(y_i) < p_old(y_i)]",
        f"{_MUSCLE}, equations 2, 4 and 5",
        _switch(LESS_LIKELY, AS_LIKELY),
        _KL_CE,
    ),
    Row(
        "muscle-ls",
        "as muscle, one m for all tokens of a sequence: any, or most, have p_C(y_i) < p_old(y_i)",
        f"{_MUSCLE}, equations 3, 4 and 5",
        _switch(SEQUENCE_LOST, SEQUENCE_KEPT),
        LossSettings(
            temperature=2.0, scale_by_t2=False, direction="forward", compat_weight=0.5, reading="any"
        ),
    ),
    Row(
        "v1-correct",
        "as muscle, m_i = 1[argmax p_old = y_i]",
        f"{_MUSCLE}, the ablation 'v1 = y'",
        _switch(OLD_RIGHT, OLD_WRONG),
        _KL,
    ),
    Row(
        "kd-old",
        "L = λ·(1/n) Σ_i KL(old||C) + (1-λ)·CE, λ = 1",
        f"{_MUSCLE}, the ablation without a mask; Hinton et al. (arXiv:1503.02531)",
        (Term("KL to old", "old", EVERYWHERE, _one),),
        _KL,
    ),
    Row(
        "kd-old+ce",
        "L = λ·(1/n) Σ_i KL(old||C) + (1-λ)·CE, λ = 1/2",
        "Hinton et al. (arXiv:1503.02531)",
        (Term("KL to old", "old", EVERYWHERE, _one),),
        _KL_CE,
    ),
    Row(
        "self-distil",
        # Not λ = 1: a student that starts as the new model would have nothing to learn.
        "L = λ·(1/n) Σ_i KL(new||C) + (1-λ)·CE, λ = 1/2",
        "control: MUSCLE's second teacher alone",
        (Term("KL to new", "new", EVERYWHERE, _one),),
        _KL_CE,
    ),
    Row(
        "cross-entropy",
        "L = -(1/n) Σ_i log p_C(y_i)",
        "control: the update trained on",
        (_CE,),
        LossSettings(),
    ),
    Row(
        "pct",
        "L = CE + μ·(1/n) Σ_i (α + β·1[old right]) D(old, C)",
        "Positive-congruent training, focal distillation (arXiv:2011.09161)",
        (_CE, *_focal("old", OLD_RIGHT)),
        LossSettings(
            temperature=100.0,
            scale_by_t2=True,
            direction="forward",
            distance="kl",
            distance_weight=1.0,
            focal_alpha=1.0,
            focal_beta=5.0,
        ),
    ),
    Row(
        "mpt",
        "L = CE + μ·(1/n) Σ_i Σ_(t in old, new) (α + β·1[t right]) D(t, C)",
        "Margin-preserving training (arXiv:2511.08322), its focal distillation from both models",
        (_CE, *_focal("old", OLD_RIGHT), *_focal("new", NEW_RIGHT)),
        LossSettings(
            temperature=5.0,
            scale_by_t2=True,
            direction="forward",
            distance="kl",
            distance_weight=1.0,
            focal_alpha=1.0,
            focal_beta=5.0,
        ),
    ),
    Row(
        "rcat",
        "L = (1-a-b)·CE + a·mean(½|z_C-z_new|²/V; new right) + b·mean(½|z_C-z_old|²/V; old right)",
        "Robustness-congruent adversarial training (arXiv:2402.17390), without the attack",
        (
            Term("cross-entropy", "gold", EVERYWHERE, _what_rcat_leaves),
            Term("distance to new", "new", NEW_RIGHT, _set("new_weight"), "logit-mse", own_mean=True),
            Term("distance to old", "old", OLD_RIGHT, _set("old_weight"), "logit-mse", own_mean=True),
        ),
        LossSettings(new_weight=0.5, old_weight=0.4),
    ),
    Row(
        "flipguard",
        "L = CE + μ·(1/n) Σ_i 1[log p_old(y_i) - log p_C(y_i) > ε] KL(old||C)",
        "after FlipGuard (arXiv:2410.00508), its case taken token by token",
        (_CE, Term("KL to old", "old", MUCH_LESS_LIKELY, _set("distance_weight"))),
        LossSettings(
            temperature=1.0, scale_by_t2=False, direction="forward", distance_weight=1.0, threshold=0.0
        ),
    ),
    Row(
        "mixture",
        "L = λ·(1/n) Σ_i KL(q||C) + (1-λ)·CE, q = softmax(log(w·p_old + (1-w)·p_new)/T)",
        "distillation of an ensemble: Hinton et al. (arXiv:1503.02531)",
        (Term("KL to mixture", "mixture", EVERYWHERE, _one),),
        LossSettings(
            temperature=2.0, scale_by_t2=False, direction="forward", compat_weight=1.0, old_weight=0.5
        ),
    ),
)

ROWS: Mapping[str, Row] = MappingProxyType({row.name: row for row in _ALL})
"""The rows, by name."""

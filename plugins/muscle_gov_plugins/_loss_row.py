"""What a row of the loss table is made of.

A row is data. A case (`When`) says at which tokens a term counts, a `Term` says which teacher is
followed there and how far from it is how bad, a `Row` adds terms up. Everything else (chunks, gradients,
normalisers, top-k teachers) is done once, in `_loss_batch`, for all rows alike. Nothing here imports
torch, so names and defaults are at hand where nothing is trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Literal, Protocol, get_args

if TYPE_CHECKING:
    from torch import Tensor

Direction = Literal["forward", "reverse"]
Distance = Literal["kl", "logit-mse", "logit-l2"]
Reading = Literal["any", "majority"]
Teacher = Literal["old", "new", "mixture", "gold"]

_AT_LEAST_0 = ("focal_alpha", "focal_beta", "distance_weight", "threshold")
_SHARES = ("compat_weight", "old_weight", "new_weight")
_OF_KL = ("temperature", "scale_by_t2", "direction")
_CHOICES = {"direction": Direction, "distance": Distance, "reading": Reading}


@dataclass(frozen=True)
class LossSettings:
    """The numbers in a row's equation; None is the row's own default.

    Raises ValueError, one sentence for each setting out of its range.
    """

    temperature: float | None = None
    """Scores of teacher and student are divided by it before the softmax of a KL; above 0."""
    scale_by_t2: bool | None = None
    """Is a KL multiplied by temperature squared, so that its gradient does not fade as 1/T²?"""
    direction: Direction | None = None
    """`forward` is KL(teacher || student), `reverse` is KL(student || teacher)."""
    compat_weight: float | None = None
    """λ of L = λ·L_comp + (1-λ)·L_CE (MUSCLE, equations 4 and 5), 0 to 1; at 1 there is no
    cross-entropy, at 0 nothing else."""
    distance: Distance | None = None
    """`kl`; `logit-l2`, half the squared difference of the scores; `logit-mse`, the same over V."""
    distance_weight: float | None = None
    """How much the distance to teachers counts beside a cross-entropy of weight 1; 0 or more."""
    focal_alpha: float | None = None
    """Weight of the distance at every token (focal distillation); 0 or more."""
    focal_beta: float | None = None
    """Further weight of the distance where the teacher is right (focal distillation); 0 or more."""
    old_weight: float | None = None
    """Weight of the old model (w in `mixture`, b in `rcat`), 0 to 1."""
    new_weight: float | None = None
    """Weight of the new model (a in `rcat`), 0 to 1."""
    threshold: float | None = None
    """By how many nats the log-likelihood has to fall to make a flip (`flipguard`); 0 or more."""
    reading: Reading | None = None
    """`any`: one token that lost likelihood is enough for its sequence; `majority`: over half."""

    def __post_init__(self) -> None:
        problems = []
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            problems.append("temperature: must be above 0")
        for name in _AT_LEAST_0:
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                problems.append(f"{name}: must be 0 or more")
        for name in _SHARES:
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                problems.append(f"{name}: must be from 0 to 1")
        for name, choices in _CHOICES.items():
            value, known = getattr(self, name), get_args(choices)
            if value is not None and value not in known:
                problems.append(f"{name}: must be one of {', '.join(known)}")
        if problems:
            raise ValueError("; ".join(problems))

    def given(self) -> dict[str, float | bool | str]:
        """The settings that are not None, by name."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def number(self, name: str) -> float:
        """A setting that must be there. Raises ValueError where the row's defaults lack it."""
        value = getattr(self, name)
        if value is None:
            raise ValueError(f"{name}: must be set, in the row's defaults at least")
        return float(value)


class Judged(Protocol):
    """What one model makes of the labels of m tokens."""

    @property
    def right(self) -> Tensor:
        """[m] bool: is its best entry the label? The student's is of now, anew at every step."""

    @property
    def logp(self) -> Tensor:
        """[m] float32: its log-probability of the label, at temperature 1."""


@dataclass(frozen=True)
class Cases:
    """What is known of m tokens when their case is decided; nothing here has a gradient."""

    labels: Tensor
    """[m] int64."""
    rows: Tensor
    """[m] int64: which sequence of the batch."""
    is_answer: Tensor
    """[m] bool."""
    models: Mapping[str, Judged]
    """Of "student", "old" and "new" those that the row's cases ask for."""

    def of(self, model: str) -> Judged:
        """A model's judgement. Raises ValueError for one that the case did not ask for."""
        if model not in self.models:
            raise ValueError(f"the case looks at the model {model}: its `asks` must say so")
        return self.models[model]


@dataclass(frozen=True)
class When:
    """A case: at which tokens a term counts."""

    name: str
    """In words, as the case table of the documentation has it."""
    test: Callable[[Cases, LossSettings], Tensor]
    """[m] bool from what is known of m tokens."""
    asks: frozenset[str] = frozenset()
    """Whose judgement the test looks at: of "student", "old" and "new"."""
    of_sequence: bool = False
    """Does the test need all tokens of a call at once? If it asks for the student too, the head is
    run twice, first for the cases alone."""


@dataclass(frozen=True)
class Term:
    """One summand of a loss: the distance to one teacher, over the tokens of one case."""

    name: str
    """In the log of a training run; each name once in a row."""
    teacher: Teacher
    """`gold` is the label: its distance is the cross-entropy, whatever `distance` says."""
    when: When
    weight: Callable[[LossSettings], float]
    distance: Distance | None = "kl"
    """None: as the setting `distance` says."""
    own_mean: bool = False
    """False: divided by the number of all tokens. True: by the number of tokens of its own case in
    the call; where there are none the term is 0."""

    @property
    def needs(self) -> frozenset[str]:
        """Which frozen models the term looks at, as a teacher or for its case."""
        teachers = {"gold": (), "mixture": ("old", "new")}.get(self.teacher, (self.teacher,))
        return (self.when.asks | frozenset(teachers)) - {"student"}

    @property
    def is_whole(self) -> bool:
        """Must its case be known for all tokens of a call before the first one counts?"""
        return self.own_mean or self.when.of_sequence


@dataclass(frozen=True)
class Row:
    """One loss, declared. Raises ValueError if two terms have the same name."""

    name: str
    equation: str
    source: str
    terms: tuple[Term, ...]
    defaults: LossSettings
    """Which settings the row has, and their values. With a `compat_weight` the terms are mixed with
    cross-entropy as in equations 4 and 5 of MUSCLE; without one they are summed as they are."""

    def __post_init__(self) -> None:
        names = [term.name for term in self.terms]
        if self.defaults.compat_weight is not None:
            names.append("cross-entropy")
        if len(set(names)) < len(names):
            raise ValueError(f"terms: must each have a name of its own; those of {self.name} have not")

    @property
    def needs(self) -> frozenset[str]:
        """Which frozen models the row looks at, whatever its settings: of "old" and "new"."""
        return frozenset().union(*(term.needs for term in self.terms))

    @property
    def runs_head_twice(self) -> bool:
        """Must the student's judgement of all tokens be known before the first token counts?"""
        return any(term.is_whole and "student" in term.when.asks for term in self.terms)

    def resolve(self, given: LossSettings) -> LossSettings:
        """The row's defaults, with what is given in their place.

        Raises ValueError for a setting that would change nothing in this row. A default that has no use
        with the distance chosen may be given as it is.
        """
        own, asked = self.defaults.given(), given.given()
        useless = {name: f"the loss {self.name} does not use it" for name in asked if name not in own}
        chosen = replace(self.defaults, **{name: asked[name] for name in asked if name in own})  # type: ignore[arg-type]
        distances = {term.distance or chosen.distance for term in self.terms if term.teacher != "gold"}
        if "kl" not in distances:
            why = f"the distance {chosen.distance} does not use it"
            useless |= {
                name: why for name in _OF_KL if name in own and asked.get(name, own[name]) != own[name]
            }
        if useless:
            raise ValueError(
                "; ".join(f"{name}: must be left out, {why}" for name, why in useless.items())
            )
        return chosen

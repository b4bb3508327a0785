"""What all mitigations that train are made of: a recipe, a row of the loss table, and their controls.

A control has the candidate's data and the mitigation's recipe and lacks its idea, so that what is left
between the two is the idea. Controls of one recipe are equal, whichever mitigation asks for them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from muscle_gov import Candidate, Fitting, Loader
from muscle_gov_plugins._fit_recipe import Recipe
from muscle_gov_plugins._loss_table import ROWS, LossSettings, Row
from muscle_gov_plugins.loader_ensemble import EnsembleLoader
from muscle_gov_plugins.loader_hf import HfLoader

if TYPE_CHECKING:
    from muscle_gov_plugins._fit_run import Plan

_OF_TEACHERS = ("scope", "teachers", "teacher_form", "teacher_top")
"""Options that a control without teachers has no use for; left out, so that controls are equal."""


@dataclass(frozen=True, kw_only=True)
class LossMitigation(Recipe):
    """Trains the candidate's adapter on, with a row of the loss table.

    A subclass names its row; each of its fields that is a setting of losses is given to it:

        @dataclass(frozen=True, kw_only=True)
        class Mine(LossMitigation):
            \"\"\"Follows the old model where it is right.\"\"\"

            row: ClassVar[Row] = Row("mine", "L = ...", "our wiki", (Term(...),), LossSettings(...))
            temperature: float = 2.0
    """

    row: ClassVar[Row]
    """The loss. Its name is the mitigation's in records and on model cards."""

    def settings(self) -> LossSettings:
        """What this says of the loss. Raises ValueError for what the row does not have."""
        own = {field.name for field in dataclasses.fields(self)}
        known = [field.name for field in dataclasses.fields(LossSettings) if field.name in own]
        return LossSettings(**{name: getattr(self, name) for name in known})

    def problems(self) -> list[str]:
        try:
            self.row.resolve(self.settings())
        except ValueError as error:
            return [str(error)]
        return []

    def needs(self) -> frozenset[str]:
        """Which frozen models the loss looks at, with these settings: of "old" and "new"."""
        settings = self.row.resolve(self.settings())
        is_all_gold = settings.compat_weight == 0
        terms = () if is_all_gold else self.row.terms
        return frozenset[str]().union(*(term.needs for term in terms if term.weight(settings)))

    def check(self, fitting: Fitting) -> None:
        """Raises InputError for models that this cannot train or learn from, before anything is run."""
        from muscle_gov_plugins._fit_check import check_models

        check_models(fitting, self, self.needs())

    def plan(self) -> Plan:
        """What is to be fitted."""
        from muscle_gov_plugins._fit_run import Plan

        return Plan(self.row.name, dataclasses.asdict(self), self, self.row, self.settings())

    def fit(self, fitting: Fitting) -> HfLoader:
        from muscle_gov_plugins._fit_run import fit

        return fit(self.plan(), fitting)

    def controls(self, fitting: Fitting) -> Mapping[str, Any]:
        return controls(self, fitting)

    def conclude(self, fitting: Fitting, candidates: Sequence[Candidate]) -> None:
        conclude(fitting, candidates)


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(LossMitigation):
    """Plain training on right answers: makes task adapters, and is the control of every mitigation."""

    row: ClassVar[Row] = ROWS["cross-entropy"]

    scope: Literal["all", "answer"] = "answer"
    """Which tokens are trained on: of prompt and answer, or of the answer alone."""


@dataclass(frozen=True, kw_only=True)
class Refit(Recipe):
    """Makes the candidate's adapter again with another seed: the flips that training makes by itself.

    A fresh adapter on the candidate's base, of the same shape, by cross-entropy. The recipe is the one
    that the candidate's adapter was made by here, where its folder says so; else these options.
    """

    is_refit: ClassVar[bool] = True
    """The flips between the candidate and this are noise."""

    def check(self, fitting: Fitting) -> None:
        """Raises InputError for a candidate that this cannot make again, before anything is run."""
        from muscle_gov_plugins._fit_check import check_models, check_refit

        check_models(fitting, self, frozenset(), is_fresh=True)
        check_refit(fitting)

    def fit(self, fitting: Fitting) -> HfLoader:
        from muscle_gov_plugins._fit_refit import refit

        return refit(self, fitting)

    def conclude(self, fitting: Fitting, candidates: Sequence[Candidate]) -> None:
        conclude(fitting, candidates)


def controls(
    recipe: Recipe, fitting: Fitting, steps: int | None = None
) -> dict[str, CrossEntropy | Refit | Loader]:
    """What a mitigation of this recipe is judged beside: `cross-entropy` for the same steps, `refit`,
    and the `ensemble` of old and new, which is what can be had at twice the price.

    `steps` replaces those of the recipe. Nothing where there is no old model. What cannot be made is
    left out: training without a right answer, and an ensemble of models with different tokenizers.
    """
    if fitting.old is None:
        return {}
    from muscle_gov_plugins._fit_check import has_answers, is_one_tokenizer

    is_labelled = has_answers(fitting.training)
    plain = {name: value for name, value in recipe.values().items() if name not in _OF_TEACHERS}
    # a control is as good as it can be: of all its looks at held-out rows the best is taken
    plain["checkpoint_by"] = "validation"
    if steps is not None:
        plain["steps"] = steps
    found: dict[str, CrossEntropy | Refit | Loader] = {}
    if is_labelled and not isinstance(recipe, CrossEntropy):
        found["cross-entropy"] = CrossEntropy(**plain)
    if is_labelled and getattr(fitting.new, "adapter", None) is not None:
        found["refit"] = _refit(Recipe(**plain), fitting.new)
    old, new = fitting.old, fitting.new
    if isinstance(old, HfLoader) and isinstance(new, HfLoader) and is_one_tokenizer(old, new):
        found["ensemble"] = EnsembleLoader((old, new))
    return found


def _refit(recipe: Recipe, candidate: Any) -> Refit:
    """The re-fit of a candidate: by the recipe that made it, whichever mitigation asks."""
    from muscle_gov_plugins._fit_recorded import OF_THE_MACHINE, recorded

    known, seeds = recorded(recipe, candidate.adapter_checkpoint().folder)
    if not seeds:
        return Refit(**known.values())
    # all of it is told by the record, so that whoever asks wants the same
    own = {name: getattr(Recipe(), name) for name in OF_THE_MACHINE}
    return Refit(**known.values() | own | {"seed": min(seeds)})


def conclude(fitting: Fitting, candidates: Sequence[Candidate]) -> None:
    """Write what was measured into the model card of what was trained."""
    from muscle_gov_plugins import _fit_card as card

    card.conclude(fitting.workdir / "adapter", candidates, fitting.name)

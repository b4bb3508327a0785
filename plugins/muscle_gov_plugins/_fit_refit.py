"""Makes a candidate's adapter again: the same training with another seed."""

from __future__ import annotations

import dataclasses

from muscle_gov import Fitting
from muscle_gov_plugins._fit_check import check_refit
from muscle_gov_plugins._fit_recipe import Recipe
from muscle_gov_plugins._fit_recorded import recorded
from muscle_gov_plugins._fit_run import Plan, fit
from muscle_gov_plugins._loss_table import LossSettings
from muscle_gov_plugins.loader_hf import HfLoader


def refit(options: Recipe, fitting: Fitting) -> HfLoader:
    """Train a fresh adapter on the candidate's base. Raises InputError where the candidate has none."""
    own = check_refit(fitting)
    recipe, seeds = recorded(options, own.folder)
    seed = next(seed for seed in range(recipe.seed + 1, recipe.seed + 3) if seed not in seeds)
    recipe = dataclasses.replace(recipe, seed=seed)
    plan = Plan(
        kind="refit",
        options=recipe.values(),
        recipe=recipe,
        row="cross-entropy",
        settings=LossSettings(),
        is_fresh=True,
    )
    return fit(plan, fitting)

"""Makes a candidate's adapter again: the same training with another seed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from muscle_gov import Fitting, InputError
from muscle_gov_plugins import _fit_card as card
from muscle_gov_plugins._fit_recipe import Recipe
from muscle_gov_plugins._fit_run import Plan, fit
from muscle_gov_plugins._loss_table import LossSettings
from muscle_gov_plugins.loader_hf import HfLoader

_OF_THE_MACHINE = ("precision", "chunk", "save_steps", "loggers", "gradient_checkpointing")
"""Options that say how, not what, is trained: these are never taken from a record."""


def refit(options: Recipe, fitting: Fitting) -> HfLoader:
    """Train a fresh adapter on the candidate's base. Raises InputError where the candidate has none."""
    own = fitting.new.adapter_checkpoint() if isinstance(fitting.new, HfLoader) else None
    if own is None:
        raise InputError(
            f"{fitting.name}: refit makes the candidate's adapter again, and the candidate has none"
        )
    recipe, seeds = _recorded(options, own.folder)
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


def _recorded(options: Recipe, adapter: Path) -> tuple[Recipe, set[int]]:
    """(the recipe that the adapter was made by, the seeds that it was made with)."""
    plain = Recipe(**options.values() | {"scope": "answer"})
    if not (adapter / card.RECORD).is_file():
        return plain, set()
    record = card.read_record(adapter)
    is_repeatable = record.get("loss", {}).get("name") == "cross-entropy"
    if not is_repeatable or record["starts_from"] != "nothing":
        return plain, set()  # made from another adapter, or from other models, that are not at hand
    told: dict[str, Any] = record["recipe"]
    seed = int(told["seed"])
    known = {field.name for field in dataclasses.fields(Recipe)} - {*_OF_THE_MACHINE, "seed"}
    values = {name: value for name, value in told.items() if name in known}
    values["targets"] = tuple(values.get("targets", options.targets))
    return dataclasses.replace(plain, **values), {seed}

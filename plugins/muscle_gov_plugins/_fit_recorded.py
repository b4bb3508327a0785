"""By what recipe an adapter was made, as its folder tells it: what a re-fit must repeat."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from muscle_gov_plugins import _fit_card as card
from muscle_gov_plugins._fit_recipe import Recipe

OF_THE_MACHINE = ("precision", "chunk", "save_steps", "loggers", "gradient_checkpointing")
"""Options that say how, not what, is trained: these are never taken from a record."""


def recorded(options: Recipe, adapter: Path) -> tuple[Recipe, set[int]]:
    """(the recipe that the adapter was made by, the seeds that it was made with).

    A record beside an adapter that was changed since tells nothing of it.
    """
    plain = Recipe(**options.values() | {"scope": "answer"})
    if not card.is_as_written(adapter):
        return plain, set()
    record = card.read_record(adapter)
    is_repeatable = record.get("loss", {}).get("name") == "cross-entropy"
    if not is_repeatable or record["starts_from"] != "nothing":
        return plain, set()  # made from another adapter, or from other models, that are not at hand
    told: dict[str, Any] = record["recipe"]
    seed = int(told["seed"])
    known = {field.name for field in dataclasses.fields(Recipe)} - {*OF_THE_MACHINE, "seed"}
    values = {name: value for name, value in told.items() if name in known}
    values["targets"] = tuple(values.get("targets", options.targets))
    return dataclasses.replace(plain, **values), {seed}

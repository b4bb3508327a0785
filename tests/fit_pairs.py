"""A small task, a suite of it, and a pair of tiny models that really learned it by training: what tests
of training work on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from muscle_gov_plugins.loader_hf import HfLoader
from tiny_models import make_model

from muscle_gov import FitStanding, Fitting, Grade, Instance, Output, Request, Suite, SuiteFacts
from muscle_gov.logs import content_hash

ANIMALS = ("cat", "dog", "bird", "fish")
COLOURS = ("red", "blue", "green")
DEEDS = ("runs", "sits", "eats", "sees")
WHERE = {"cat": "grass", "dog": "city", "bird": "sky", "fish": "water"}
WHEN = {"red": "sun", "blue": "moon", "green": "fire"}


@dataclass(frozen=True)
class Zoo:
    """`the red cat eats. where` is answered by ` grass sun`: the animal's place, the colour's light."""

    first: int = 0
    last: int = 10_000
    is_labelled: bool = True

    def facts(self) -> SuiteFacts:
        return SuiteFacts(
            task="zoo", metric="exact_match", settings={"first": self.first, "last": self.last}
        )

    def instances(self) -> Iterator[Instance]:
        every = [
            (size, colour, animal, deed, other)
            for size in ("big", "small", "old", "new")
            for colour in COLOURS
            for animal in ANIMALS
            for deed in DEEDS
            for other in ("", " and likes France", " or not")
        ]
        every.sort(key=lambda words: content_hash(" ".join(words)))
        for number, (size, colour, animal, deed, other) in enumerate(every[self.first : self.last]):
            question = f"the {size} {colour} {animal} {deed}{other}. where"
            target = f" {WHERE[animal]} {WHEN[colour]}"
            yield Instance(
                key=str(self.first + number),
                content_hash=content_hash(question, target),
                input_hash=content_hash(question),
                target=target,
                data=question,
            )

    def requests(self, instance: Instance) -> Sequence[Request]:
        return [Request(prompt=instance.data, max_tokens=8)]

    def reference(self, instance: Instance) -> str | None:
        return instance.target if self.is_labelled else None

    def grade(self, instance: Instance, outputs: Sequence[Output]) -> Sequence[Grade]:
        right = (outputs[0].text or "").startswith(instance.target or "")
        return [Grade("right" if right else "wrong", float(right))]  # type: ignore[arg-type]


def silent(_: FitStanding) -> None:
    pass


def fitting_of(
    workdir: Path,
    new: HfLoader,
    old: HfLoader | None = None,
    *,
    training: Mapping[str, Suite] | None = None,
    watch: Callable[[FitStanding], None] = silent,
) -> Fitting:
    """A fitting on the first 200 animals, unless told otherwise."""
    given = {"zoo": Zoo(0, 200)} if training is None else training
    return Fitting(name="mended", old=old, new=new, training=given, workdir=workdir, watch=watch)


SHORT: Mapping[str, Any] = {
    "rank": 4,
    "batch_rows": 16,
    "accumulation": 2,
    "learning_rate": 1e-2,
    "warmup_steps": 5,
}
"""Options with which a tiny model learns in a second."""


@dataclass(frozen=True)
class Pair:
    old: HfLoader
    new: HfLoader


@cache
def make_pair(folder: Path, steps: int = 40) -> Pair:
    """Two models of different weights, each with a task adapter that was trained on other rows. Made
    once in a folder: nothing may change them."""
    from muscle_gov_plugins._fit_mitigation import CrossEntropy

    found = {}
    for seed, (which, rows) in enumerate({"old": Zoo(0, 120), "new": Zoo(60, 200)}.items()):
        base = HfLoader(
            make_model(folder / f"{which}-base", seed=seed, spread=0.1), device="cpu", threads=1
        )
        recipe = CrossEntropy(**SHORT, steps=steps, validate_steps=steps, seed=seed)
        fitting = fitting_of(folder / f"{which}-task", base, training={"zoo": rows})
        found[which] = replace(base, adapter=recipe.fit(fitting).adapter)
    return Pair(**found)

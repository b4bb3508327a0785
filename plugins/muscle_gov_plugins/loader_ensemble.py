"""Several models as one: at every token, the weighted mean of their probabilities.

It is the control that a mended update has to beat: what is gained by running both models is the most
that can be had without training. Means are taken token by token, so all members must have the same
tokenizer, to the letter.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

from muscle_gov import InputError, Model, ModelFacts, hookimpl
from muscle_gov_plugins.loader_hf import HfLoader


@hookimpl
def register_loaders() -> dict[str, type]:
    return {"ensemble": EnsembleLoader}


@dataclass(frozen=True)
class EnsembleLoader:
    """Several models of the loader `hf` as one: at every token, the mean of their probabilities."""

    models: tuple[Any, ...] = field(metadata={"refers_to": "models"})
    """Names of the members, at least two. Prompts are made as the first one makes them."""
    weights: tuple[float, ...] = ()
    """How much each member counts; all alike by default. Only their ratios matter."""
    how: Literal["mean"] = "mean"
    """`mean` is the arithmetic mean of probabilities."""

    def __post_init__(self) -> None:
        problems = []
        if len(self.models) < 2:
            problems.append("models: must be at least two")
        for number, member in enumerate(self.models, 1):
            if not isinstance(member, HfLoader):
                kind = type(member).__name__
                problems.append(f"models: number {number} is no model of the loader hf ({kind})")
        if self.weights and len(self.weights) != len(self.models):
            problems.append(f"weights: must be {len(self.models)} numbers, one for each model")
        if not all(weight > 0 and math.isfinite(weight) for weight in self.weights):
            problems.append("weights: must be above 0")
        if problems:
            raise ValueError("; ".join(problems))

    def facts(self) -> ModelFacts:
        every = self._member_facts()
        first = every[0]
        digests = {"tokenizer": first.digests["tokenizer"]}
        if "chat_template" in first.digests:
            digests["chat_template"] = first.digests["chat_template"]
        for number, member in enumerate(every, 1):
            for part, digest in member.digests.items():
                if part not in ("tokenizer", "chat_template"):
                    digests[f"{part} {number}"] = digest
        return ModelFacts(
            name=" & ".join(member.name for member in every),
            engine=_joined(member.engine for member in every),
            dtype=_joined(member.dtype or "unknown" for member in every),
            quantization=_quantization([member.quantization for member in every]),
            chat_template=first.chat_template,
            digests=digests,
            settings={
                "how": self.how,
                "weights": list(self.shares()),
                "models": [_of_its_own(member) for member in every],
            },
            remarks={"models": [dict(member.remarks) for member in every]},
        )

    @property
    def cost(self) -> float:
        """Models that are run for one answer."""
        return float(len(self.models))

    def open(self) -> AbstractContextManager[Model]:
        self._member_facts()
        from muscle_gov_plugins._hf_mixture import opened

        return opened(self)

    def shares(self) -> tuple[float, ...]:
        """The weights, summing to 1."""
        weights = self.weights or (1.0,) * len(self.models)
        return tuple(weight / math.fsum(weights) for weight in weights)

    def _member_facts(self) -> list[ModelFacts]:
        """What the members say of themselves. Raises InputError if their tokenizers differ."""
        every: list[ModelFacts] = [member.facts() for member in self.models]
        for member in every[1:]:
            if member.digests["tokenizer"] != every[0].digests["tokenizer"]:
                raise InputError(
                    f"an ensemble needs members of one tokenizer, but those of {every[0].name} and "
                    f"{member.name} differ"
                )
        return every


def _of_its_own(member: ModelFacts) -> dict[str, Any]:
    """What a member's probabilities depend on besides its files. Joined over members, as in the facts'
    `dtype`, it would not tell which has what."""
    return dict(member.settings) | {
        "engine": member.engine,
        "dtype": member.dtype,
        "quantization": member.quantization,
    }


def _joined(values: Any) -> str:
    """The value if all are alike, else all of them."""
    return " + ".join(dict.fromkeys(values))


def _quantization(values: list[str | None]) -> str | None:
    return _joined(value or "none" for value in values) if any(values) else None

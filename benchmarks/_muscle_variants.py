"""What is tried in `muscle.py`: every mitigation there is, its controls, and both models at once.

All that are trained are trained by one recipe, so that what differs is the loss. Its numbers are those
of the first experiments with models of this size; `muscle, as published` keeps the paper's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["update", "mitigation", "control"]

UPDATE, CONTROL = "update", "cross-entropy"
"""The candidate as it came, and the control that every mitigation is compared with."""


@dataclass(frozen=True)
class Settings:
    """All that the figures depend on, beside the seed and the code. Rows are counted for each seed."""

    routing: int = 4000
    """Questions that are judged; likewise the next two."""
    topic: int = 2000
    summary: int = 1000
    train: int = 2000
    """Labelled rows to train on; likewise the next two."""
    train_topic: int = 1000
    train_summary: int = 1000
    traffic: int = 20_000
    """Rows without right answers."""
    finetune_steps: int = 600
    """Of both task adapters."""
    steps: int = 400
    """Of every mitigation and control."""
    distil_steps: int = 2000
    """Of `ensemble-distil`, which sees the unlabelled rows too."""
    documents: float = 1.0
    """Documents that the bases read, as a share of what they read otherwise: for a try."""

    def recipe(self) -> dict[str, Any]:
        """The options that all have in common. The last weights are taken, so that all have had the
        same steps; the held-out rows and the seed are those of the task adapters."""
        return {
            "rank": 8,
            "lora_alpha": 16,
            "learning_rate": 3e-3,
            "batch_rows": 32,
            "accumulation": 1,
            "warmup_steps": 0,
            "validation": 0.1,
            "scope": "answer",
            "checkpoint_by": "last",
            "steps": self.steps,
            "validate_steps": self.steps,
            "save_steps": self.steps,
            "seed": 1,
        }


LABELLED = ("tickets", "topics", "summaries")
"""Training data with right answers."""


@dataclass(frozen=True)
class Variant:
    """One model that is judged."""

    name: str
    role: Role
    kind: str | None = None
    """Name of a mitigation; None for what is not trained."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Beside the recipe's, or in their place."""
    training: tuple[str, ...] = LABELLED
    of: Literal["old", "new"] = "new"
    """Whose adapter is trained on, or made again."""
    end: str | None = None
    """For `interpolate`: the variant whose adapter is the line's end."""
    share: float | None = None
    """For an ensemble: how much the old model counts."""
    note: str = ""
    """What the table says of it."""


_T1 = {"temperature": 1.0}


def variants(settings: Settings) -> tuple[Variant, ...]:
    """In the order in which they are tried and shown; what one is made of stands before it."""

    def mends(name: str, kind: str = "", note: str = "", **options: Any) -> Variant:
        return Variant(name, "mitigation", kind or name, options, note=note)

    distil = {"steps": settings.distil_steps, "validate_steps": settings.distil_steps}
    return (
        Variant(UPDATE, "update"),
        Variant(CONTROL, "control", "cross-entropy"),
        dataclasses.replace(mends("self-distil", note="λ = 0.5", **_T1), role="control"),
        mends("muscle", **_T1),
        mends(
            "muscle, as published",
            "muscle",
            "T = 2, prompt and answer, λ = 1",
            temperature=2.0,
            scope="all",
        ),
        mends("muscle-ll", note="λ = 0.5", **_T1),
        mends("muscle-ll, no cross-entropy", "muscle-ll", "λ = 1", compat_weight=1.0, **_T1),
        mends("muscle-ls", note="λ = 0.5", **_T1),
        mends("v1-correct", **_T1),
        mends("kd-old", **_T1),
        mends("kd-old+ce", note="λ = 0.5", **_T1),
        mends("pct", note="its own T = 100"),
        mends("mpt", note="its own T = 5"),
        mends("rcat"),
        mends("flipguard"),
        mends("mixture", note="w = 0.5", **_T1),
        Variant(
            "interpolate",
            "mitigation",
            "interpolate",
            end="muscle",
            note="between the update and muscle, on held-out rows",
        ),
        Variant(
            "ensemble-distil",
            "mitigation",
            "ensemble-distil",
            distil,
            (*LABELLED, "traffic"),
            note=f"{settings.distil_steps:,} steps, {settings.traffic:,} unlabelled rows",
        ),
        Variant("refit of the update", "control", "refit", note="another seed"),
        Variant(
            "refit of the old model", "control", "refit", of="old", note="another seed: no update at all"
        ),
        Variant("ensemble, w = 0.25", "control", share=0.25, note="twice the cost"),
        Variant("ensemble, w = 0.5", "control", share=0.5, note="twice the cost"),
    )

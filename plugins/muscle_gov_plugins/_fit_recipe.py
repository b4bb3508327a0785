"""The options of training, shared by task adapters and all mitigations.

Defaults are those of MUSCLE (arXiv:2407.09435, table 8) wherever the paper says; what it leaves open is
marked so. Every fit of one update should be made by one recipe, so that what is compared is the loss.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

WARMUP_SHARE = 0.1
"""Warm-up never takes more than this part of the steps."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How an adapter is trained: with AdamW, on the rows of `[training.*]`."""

    rank: int | None = None
    """Rank of the adapter; default: the candidate's adapter's, else 128. A larger one than the
    candidate's starts as exactly the same function."""
    lora_alpha: float | None = None
    """The adapter counts `lora_alpha / rank` times; default: as often as the candidate's, else twice, as
    in the paper (256 / 128)."""
    targets: tuple[str, ...] = ("all-linear",)
    """Names of the layers that the adapter changes; `all-linear` is all linear layers but the head."""
    dropout: float = 0.0
    """Dropout before the adapter's layers."""
    epochs: float = 10.0
    """How often each training row is seen."""
    steps: int | None = None
    """Updates of the weights, in the place of `epochs`."""
    batch_rows: int = 8
    """Rows of one forward pass. The paper does not say."""
    accumulation: int = 8
    """Forward passes of one step."""
    learning_rate: float = 1e-4
    """The highest one."""
    warmup_steps: int = 500
    """Steps in which the learning rate rises from 0; never more than a tenth of all steps, so that a
    short run is not all warm-up."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls to 0 after the warm-up. The paper does not say."""
    weight_decay: float = 0.0
    """AdamW's."""
    max_grad_norm: float = 1.0
    """Longer gradients are cut to this length; 0 cuts none. The paper does not say."""
    validation: float = 0.2
    """Share of the labelled rows, about, that is held out: to choose by and never to train on. Which
    ones is told by seed and question, so they stay the same when data are added."""
    checkpoint_by: Literal["validation", "last"] = "validation"
    """Which weights are kept: those of the least cross-entropy on the held-out answers, or the last."""
    validate_steps: int | None = None
    """Steps between two looks at the held-out rows; default: an epoch, or a tenth of `steps`."""
    seed: int = 0
    """Of the split, of the order of rows, of what of the adapter starts at random, and of dropout."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the models are held and computed in; `auto` is what the candidate computes in. The adapter's
    own weights are always trained in float32."""
    gradient_checkpointing: bool = False
    """Whether to compute activations twice rather than to keep them: less memory, a third slower."""
    scope: Literal["all", "answer"] = "all"
    """Which tokens are trained on: of prompt and answer, as in the paper, or of the answer alone."""
    max_length: int | None = None
    """Rows of more tokens than this are an error; default: what the model's config says."""
    teachers: Literal["cached", "live"] = "cached"
    """Whether what the candidate says of the training rows is computed once and kept on disk, or anew
    at each step, in the very same network. The old model's is always kept."""
    teacher_form: Literal["auto", "full", "top"] = "auto"
    """What is kept of a teacher's scores: all of them, or the best few and the sum of the rest; `auto`
    keeps all while they are small."""
    teacher_top: int = 64
    """How many of the best scores `top` keeps."""
    chunk: int | None = None
    """Tokens whose scores over the whole vocabulary are held at once; default: as many as suit the
    vocabulary and the device."""
    save_steps: int = 100
    """Steps between two checkpoints: what a killed run loses at most."""
    loggers: tuple[str, ...] = ()
    """Where transformers' Trainer reports to besides: `tensorboard`, `wandb`, `mlflow` and so on."""

    def __post_init__(self) -> None:
        problems = _problems(self) + self.problems()
        if problems:
            raise ValueError("; ".join(problems))

    def problems(self) -> list[str]:
        """What is wrong with the options of a subclass, one sentence each."""
        return []

    def values(self) -> dict[str, Any]:
        """The options of this class alone, without those that a subclass adds."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(Recipe)}

    def total_steps(self, rows: int) -> int:
        """Updates of the weights in all, for so many training rows."""
        if self.steps is not None:
            return self.steps
        return max(1, math.ceil(self.epochs * self.epoch_steps(rows)))

    def epoch_steps(self, rows: int) -> int:
        """Updates of the weights in which each row is seen once."""
        return math.ceil(math.ceil(rows / self.batch_rows) / self.accumulation)

    def warmup(self, total: int) -> int:
        """Steps of warm-up in a run of `total` steps."""
        return min(self.warmup_steps, int(WARMUP_SHARE * total))

    def validation_gap(self, rows: int) -> int:
        """Steps between two looks at the held-out rows."""
        if self.validate_steps is not None:
            return self.validate_steps
        return self.epoch_steps(rows) if self.steps is None else max(1, math.ceil(self.steps / 10))


_POSITIVE = (
    "rank",
    "lora_alpha",
    "epochs",
    "steps",
    "batch_rows",
    "accumulation",
    "learning_rate",
    "validate_steps",
    "max_length",
    "teacher_top",
    "chunk",
    "save_steps",
)


def _problems(recipe: Recipe) -> list[str]:
    found = []
    for name in _POSITIVE:
        value = getattr(recipe, name)
        if value is not None and not (value > 0 and math.isfinite(value)):
            found.append(f"{name}: must be above 0, not {value}")
    for name in ("warmup_steps", "weight_decay", "max_grad_norm"):
        value = getattr(recipe, name)
        if not (value >= 0 and math.isfinite(value)):
            found.append(f"{name}: must be 0 or more, not {value}")
    if not 0 <= recipe.dropout < 1:
        found.append(f"dropout: must be at least 0 and below 1, not {recipe.dropout}")
    if not 0 < recipe.validation < 1:
        found.append(f"validation: must be above 0 and below 1, not {recipe.validation}")
    if not 0 <= recipe.seed < 1 << 32:
        found.append(f"seed: must be at least 0 and below 2**32, not {recipe.seed}")
    if not recipe.targets or ("all-linear" in recipe.targets and len(recipe.targets) > 1):
        found.append("targets: must be names of layers, or all-linear alone")
    return found

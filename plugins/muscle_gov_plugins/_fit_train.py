"""The training loop: transformers' Trainer, with a loss of ours and with no surprises after a kill.

Every step is a function of the checkpoint before it: the order of rows comes from the seed and the
epoch's number, not from a state that is lost. A checkpoint counts when its last file is whole. The best
weights lie beside the checkpoints, and are forgotten only when a checkpoint knows of better ones.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import peft
import torch
import transformers
from safetensors.torch import load_file

from muscle_gov import InputError, ModelError
from muscle_gov_plugins._fit_adapters import save
from muscle_gov_plugins._fit_batches import Batches, Order
from muscle_gov_plugins._fit_checkpoints import (
    best_step,
    curve_of,
    last_checkpoint,
    prune_best,
    state_of,
    step_of,
)
from muscle_gov_plugins._fit_head import Parts
from muscle_gov_plugins._fit_measure import measure, predicted
from muscle_gov_plugins._fit_recipe import Recipe
from muscle_gov_plugins._fit_rows import Row
from muscle_gov_plugins._hf_memory import is_out_of_memory

Tensor = torch.Tensor
Watch = Callable[[int, int, Mapping[str, float]], None]

_SILENT_STEPS = 20
"""Steps after which a gradient of nothing but zeros is a fault: a candidate that is right on all tokens
of the first few batches teaches itself nothing, and that is as it should be."""
_SUMS = "figures.json"
_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is trained, and from what."""

    name: str
    """For messages."""
    student: Any
    """A PeftModel whose adapter `default` is trainable."""
    base: str
    """The base model as the user named it: what the adapter's config says."""
    rows: Sequence[Row]
    held_out: Sequence[Row]
    loss: Any
    """A `Loss` of the table."""
    teachers: Mapping[str, Any]
    """`old` and `new`, those that the loss needs: by the places of `rows`."""
    pad: int


@dataclass(frozen=True, eq=False)
class Trained:
    """What came of it."""

    adapter: Path
    """Folder of the chosen weights."""
    step: int
    """The step they are of."""
    steps: int
    curve: tuple[Mapping[str, float], ...]
    """Each look at the held-out rows, step 0 first."""


def train(lesson: Lesson, recipe: Recipe, folder: Path, watch: Watch) -> Trained:
    """Train the student, or go on where a killed run stopped.

    `folder` holds checkpoints and the best weights. Raises ModelError where training breaks down.
    """
    folder.mkdir(parents=True, exist_ok=True)
    total = recipe.total_steps(len(lesson.rows))
    last = last_checkpoint(folder)
    if last is None or step_of(last) < total:
        with _same_chance_after():
            _run(lesson, recipe, folder, watch, last)
        last = last_checkpoint(folder)
    if last is None:
        raise ModelError(f"{lesson.name}: training left no checkpoint in {folder}")
    curve = tuple(curve_of(state_of(last) or {}))
    best = best_step(curve)
    if recipe.checkpoint_by == "last" or best is None:
        return Trained(last, total, total, curve)
    return Trained(folder / f"best-{best}", best, total, curve)


def _run(lesson: Lesson, recipe: Recipe, folder: Path, watch: Watch, last: Path | None) -> None:
    args = _arguments(lesson, recipe, folder)
    try:
        fitter = _Fitter(lesson, recipe, args, watch)
    except (RuntimeError, ImportError, ValueError) as error:  # a logger that is not there
        if not recipe.loggers:
            raise
        raise InputError(f"loggers: {' '.join(str(error).split())}") from error
    prune_best(folder, fitter.kept_steps(last))
    try:
        fitter.train(resume_from_checkpoint=None if last is None else str(last))
    except Exception as error:
        if is_out_of_memory(error):
            raise ModelError(
                f"{lesson.name}: there is too little memory to train with batch_rows = "
                f"{recipe.batch_rows}; halve it and double accumulation, or set "
                "gradient_checkpointing = true"
            ) from error
        raise


class _Fitter(transformers.Trainer):  # type: ignore[misc]
    """Trainer whose loss looks at two teachers, and whose evaluation looks at held-out rows."""

    def __init__(
        self, lesson: Lesson, recipe: Recipe, args: transformers.TrainingArguments, watch: Watch
    ) -> None:
        self.lesson, self.recipe, self.watch = lesson, recipe, watch
        self.parts = Parts(lesson.student)
        self.chunk = self.parts.chunk(recipe.chunk)
        self.folder = Path(args.output_dir)
        self.order = Order(lesson.rows, recipe.batch_rows, recipe.accumulation, recipe.seed)
        self.sums: dict[str, float] = {}
        self.figures: dict[str, float] = {}
        super().__init__(
            model=lesson.student,
            args=args,
            data_collator=Batches(lesson.rows, recipe.scope, lesson.pad),
            train_dataset=range(len(lesson.rows)),
            callbacks=[_Guide(self)],
        )
        self.pop_callback(transformers.PrinterCallback)
        # tokens are counted over a whole step, and the loss is divided by that count
        self.model_accepts_loss_kwargs = self._loss_shifts_labels = True

    # ------------------------------------------------------------------------------------- the loss

    def compute_loss(
        self,
        _model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        from muscle_gov_plugins._loss_terms import BatchTokens

        places = inputs["places"].tolist()
        # teachers first: one that is the student's own network with another adapter must not come
        # between the student's way forward and its way back
        taught = {
            name: teacher.of(places, self.parts.device) for name, teacher in self.lesson.teachers.items()
        }
        hidden, labels, rows = predicted(self.parts, inputs)
        is_answer = inputs["is_answer"][:, 1:][inputs["labels"][:, 1:] != -100].to(labels.device)
        tokens = BatchTokens(labels, rows, is_answer, taught.get("old"), taught.get("new"))
        total = float(len(labels) if num_items_in_batch is None else num_items_in_batch)
        loss, figures = self.lesson.loss(
            hidden, self.parts.scores, tokens, total=total, chunk=self.chunk
        )
        self._note(float(loss.detach()), figures, len(labels))
        return (loss, None) if return_outputs else loss

    def _note(self, loss: float, figures: Mapping[str, float], count: int) -> None:
        """Add up what is shown; a loss that is no number ends the run before it spoils the weights."""
        if not math.isfinite(loss):
            raise _no_number(self.lesson.name, self.state.global_step + 1, "loss")
        for name, value in figures.items():
            if name != "loss":
                self.sums[name] = self.sums.get(name, 0.0) + value * count
        self.sums["tokens"] = self.sums.get("tokens", 0.0) + count
        self.sums["loss"] = self.sums.get("loss", 0.0) + loss

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)
        if not math.isfinite(float(norm)):
            raise _no_number(self.lesson.name, self.state.global_step + 1, "gradient")
        return norm

    # -------------------------------------------------------------------------------- what is shown

    def shown(self) -> dict[str, float]:
        """Means since the last look at the held-out rows."""
        count, steps = self.sums.get("tokens", 0.0), self.sums.get("steps", 0.0)
        means = {
            name: value / count
            for name, value in self.sums.items()
            if count and name not in ("tokens", "steps", "loss")
        }
        return ({"loss": self.sums["loss"] / steps} if steps else {}) | means

    def tell(self) -> None:
        self.figures |= self.shown()
        self.watch(self.state.global_step, self.state.max_steps, dict(self.figures))

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Look at the held-out rows; keep the weights if they are the best so far."""
        found = measure(self.parts, self.lesson.held_out, self.lesson.pad, self.chunk)
        step = self.state.global_step
        if not math.isfinite(found.loss):
            raise _no_number(self.lesson.name, step, "validation loss")
        logs = {"eval_loss": found.loss, "eval_exact_match": found.accuracy, **self.shown()}
        self.sums = {}
        self.figures |= {"validation loss": found.loss, "validation exact match": found.accuracy}
        self.log(logs)
        if best_step(curve_of({"log_history": self.state.log_history})) == step:
            save(self.lesson.student, self.folder / f"best-{step}", self.lesson.base)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, logs)
        return logs

    # ---------------------------------------------------------------------------------- checkpoints

    def kept_steps(self, last: Path | None) -> set[int]:
        """Steps whose best weights the last checkpoint knows of."""
        best = None if last is None else best_step(curve_of(state_of(last) or {}))
        return set() if best is None else {best}

    def _save(self, output_dir: str | None = None, **_: Any) -> None:
        """The student's adapter alone, and the sums of what is shown."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save(self.lesson.student, folder, self.lesson.base)
        (folder / _SUMS).write_bytes(orjson.dumps(self.sums))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, *_: Any) -> None:
        folder = Path(resume_from_checkpoint)
        weights = load_file(folder / "adapter_model.safetensors")
        peft.set_peft_model_state_dict(self.lesson.student, weights, adapter_name="default")
        self.sums = orjson.loads((folder / _SUMS).read_bytes())

    def _get_train_sampler(self, *_: Any) -> Order:
        return self.order

    def floating_point_ops(self, *_: Any) -> int:
        return 0  # counting them walks over all parameters at every step, and nobody asks


class _Guide(transformers.TrainerCallback):  # type: ignore[misc]
    """Says when to look at held-out rows and when to save, and watches over the gradient."""

    def __init__(self, fitter: _Fitter) -> None:
        self.fitter = fitter
        recipe, rows = fitter.recipe, len(fitter.lesson.rows)
        self.gap, self.per_epoch = recipe.validation_gap(rows), recipe.epoch_steps(rows)
        self.has_gradient = False

    def on_train_begin(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
        if state.global_step == 0:
            self.fitter.evaluate()
        self.fitter.tell()

    def on_epoch_begin(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
        self.fitter.order.epoch = state.global_step // self.per_epoch

    def on_pre_optimizer_step(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
        if self.has_gradient:
            return
        own = [p for p in self.fitter.lesson.student.parameters() if p.requires_grad]
        if not own or all(p.grad is None for p in own):
            raise ModelError(f"{self.fitter.lesson.name}: no gradient reached the adapter")
        self.has_gradient = any(bool(p.grad.any()) for p in own if p.grad is not None)
        if not self.has_gradient and state.global_step + 1 >= _SILENT_STEPS:
            raise ModelError(
                f"{self.fitter.lesson.name}: there was nothing to learn in the first "
                f"{_SILENT_STEPS} steps (every gradient was 0): the model already is what the loss asks "
                "for on these rows; train on rows that it gets wrong, or take another loss"
            )

    def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
        fitter, step = self.fitter, state.global_step
        fitter.sums["steps"] = fitter.sums.get("steps", 0.0) + 1
        is_last = step >= state.max_steps
        control.should_evaluate = is_last or step % self.gap == 0
        control.should_save = control.should_evaluate or step % fitter.recipe.save_steps == 0
        fitter.tell()

    def on_save(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
        best = best_step(curve_of({"log_history": state.log_history}))
        prune_best(self.fitter.folder, set() if best is None else {best})


# --------------------------------------------------------------------------------------- surroundings


def _arguments(lesson: Lesson, recipe: Recipe, folder: Path) -> transformers.TrainingArguments:
    total = recipe.total_steps(len(lesson.rows))
    device = torch.device(lesson.student.device)
    told: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": total,
        "per_device_train_batch_size": recipe.batch_rows,
        "gradient_accumulation_steps": recipe.accumulation,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": _SCHEDULES[recipe.schedule],
        "warmup_steps": recipe.warmup(total),
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "seed": recipe.seed,
        "use_cpu": device.type == "cpu",
        "save_strategy": "no",
        "eval_strategy": "no",
        "save_total_limit": 1,
        "logging_strategy": "steps" if recipe.loggers else "no",
        "logging_steps": 10,
        "logging_nan_inf_filter": False,
        "report_to": list(recipe.loggers) or "none",
        "run_name": lesson.name,
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": device.type == "cuda",
        "log_level": "error",
    }
    if recipe.gradient_checkpointing:
        told |= {
            "activation_checkpointing": True,
            "activation_checkpointing_kwargs": {"use_reentrant": False},
        }
    args = transformers.TrainingArguments(**told)
    _check_place(args, device)
    return args


def _check_place(args: transformers.TrainingArguments, device: torch.device) -> None:
    """One device, and the one that the model is on."""
    if device.type == "cuda" and device.index not in (None, 0):
        raise InputError(
            "device: training runs on the first GPU; set CUDA_VISIBLE_DEVICES="
            f'{device.index} and device = "cuda"'
        )
    args._n_gpu = min(args.n_gpu, 1)  # else the model would be copied to every GPU that is there


@contextmanager
def _same_chance_after() -> Iterator[None]:
    """The Trainer sets every generator of random numbers there is; put them back afterwards."""
    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count()))):
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


def _no_number(name: str, step: int, what: str) -> ModelError:
    return ModelError(
        f"{name}: the {what} at step {step} is not a finite number; lower learning_rate, or set "
        'precision = "float32"'
    )

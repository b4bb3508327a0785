"""One fit from beginning to end: models and data in, a folder with an adapter out.

Every stage leaves what it made in a folder, whole or not at all, so a killed fit goes on where it
stopped. Old and new base are in memory one after the other, never together: what the old model says of
the training rows is kept on disk, where several mitigations of one update share it.
"""

from __future__ import annotations

import dataclasses
import gc
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from muscle_gov import Fitting, InputError
from muscle_gov.logs import read_json
from muscle_gov_plugins import _fit_card as card
from muscle_gov_plugins._fit_adapters import Lora, as_teacher, student_of
from muscle_gov_plugins._fit_head import Parts
from muscle_gov_plugins._fit_recipe import Recipe
from muscle_gov_plugins._fit_rows import Data
from muscle_gov_plugins._fit_teachers import Keeping, LiveTeacher
from muscle_gov_plugins._fit_train import Lesson, Trained, train
from muscle_gov_plugins._fit_work import Work, alone, check_data, claim
from muscle_gov_plugins._hf_load import load, settings
from muscle_gov_plugins._hf_memory import release
from muscle_gov_plugins._loss_batch import Loss
from muscle_gov_plugins._loss_table import LossSettings
from muscle_gov_plugins.loader_hf import HfLoader

DEFAULT_RANK = 128
"""Of an adapter where the candidate has none (arXiv:2407.09435, table 8)."""


@dataclass(frozen=True)
class Settled:
    """What is only known once the data are read: by default, the data as they are."""

    data: Data
    settings: LossSettings
    steps: int | None = None
    """How many, where the recipe does not say; by default, as many as its epochs are."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """For the record: how it was settled."""


@dataclass(frozen=True)
class Plan:
    """What a mitigation asks to be fitted."""

    kind: str
    """The mitigation's name, for the record."""
    options: Mapping[str, Any]
    """All of its options, as JSON: with the models they make the fit's key."""
    recipe: Recipe
    row: Any
    """Name of a row of the loss table, or a `Row`."""
    settings: LossSettings
    is_fresh: bool = False
    """Whether the adapter starts from nothing, not from the candidate's."""
    settle: Callable[[Work, Data], Settled] | None = None


# ------------------------------------------------------------------------------------------- the whole


def fit(plan: Plan, fitting: Fitting) -> HfLoader:
    """Train by the plan, or go on with it, or return what is there. Raises InputError, ModelError."""
    loss = Loss(plan.row, plan.settings)
    work = Work(fitting, plan.recipe, loss.needs)
    key = claim(fitting, plan.kind, plan.options)
    result = work.result()
    if card.is_whole(fitting.workdir / "adapter", key):
        shutil.rmtree(fitting.workdir / "training", ignore_errors=True)
        work.tell("done", 1, 1)
        return result
    with alone(fitting.workdir):
        _make(work, plan, loss, key)
    work.tell("done", 1, 1)
    return result


def _make(work: Work, plan: Plan, loss: Loss, key: str) -> None:
    """Read the data, train, and put the adapter in its place."""
    fitting, started = work.fitting, time.monotonic()
    with settings(work.new.threads):
        data = work.read()
        check_data(fitting, data.digest)
        settled = Settled(data, plan.settings)
        if plan.settle is not None:
            settled = plan.settle(work, data)
            loss = Loss(plan.row, settled.settings)
            plan = dataclasses.replace(plan, recipe=_with_steps(plan.recipe, settled))
        settled = _noted(settled)
        _check_rows(fitting, settled.data)
        trained, about = _trained(work, plan, loss, settled.data)
        gc.collect()
        release()
    about |= {"key": key, "seconds": time.monotonic() - started, "data_read": data.digest}
    record = card.record(work, plan, loss, settled, trained, about)
    card.write(fitting.workdir / "adapter", trained.adapter, record)
    shutil.rmtree(fitting.workdir / "training")


def _trained(work: Work, plan: Plan, loss: Loss, data: Data) -> tuple[Trained, dict[str, Any]]:
    """Ask the teachers, train the student, free everything."""
    recipe = plan.recipe
    keeping = keeping_of(recipe, loss)
    teachers: dict[str, Any] = {}
    if "old" in loss.needs:
        teachers["old"] = work.old_teacher(data.train, keeping)
    with student(work, plan.is_fresh) as tuned:
        Parts(tuned).check(_first_tokens(data), str(work.new.path))
        if "new" in loss.needs:
            if recipe.teachers == "live":
                teachers["new"] = LiveTeacher(
                    tuned, data.train, keeping, which="new", around=lambda: as_teacher(tuned)
                )
            else:
                teachers["new"] = work.new_teacher(data.train, keeping, tuned)
        lesson = Lesson(
            name=work.fitting.name,
            student=tuned,
            base=str(work.new.path),
            rows=data.train,
            held_out=data.held_out,
            loss=loss,
            teachers=teachers,
            pad=work.pad,
        )
        trained = train(
            lesson,
            recipe,
            work.fitting.workdir / "training",
            lambda done, total, figures: work.tell("training", done, total, figures),
        )
    return trained, {"teachers": {name: dict(teacher.about) for name, teacher in teachers.items()}}


@contextmanager
def student(work: Work, is_fresh: bool) -> Iterator[Any]:
    """The candidate as a student: its base with a trainable copy of its adapter."""
    model, tuned = None, None
    recipe, own = work.recipe, work.own_adapter()
    start = None if is_fresh else own
    try:
        model, _ = load(work.base)
        tuned = student_of(model, start, _shape(recipe, own, start))
        yield tuned
    finally:
        del model, tuned


def _shape(recipe: Recipe, own: Path | None, start: Path | None) -> Lora:
    """What the student's adapter is like; a fresh one is like the candidate's unless told otherwise."""
    rank, alpha = recipe.rank, recipe.lora_alpha
    targets: Any = "all-linear" if recipe.targets == ("all-linear",) else recipe.targets
    if start is None and own is not None:
        config = read_json(own / "adapter_config.json")
        if rank is None:
            rank, alpha = config.get("r"), alpha or config.get("lora_alpha")
        targets = config.get("target_modules") or targets if targets == "all-linear" else targets
    elif start is None and rank is None:
        rank = DEFAULT_RANK
    return Lora(rank, alpha, targets, recipe.dropout, recipe.seed)


def keeping_of(recipe: Recipe, loss: Loss) -> Keeping:
    """What a loss wants of its teachers."""
    form = "full" if loss.needs_full else recipe.teacher_form
    return Keeping(
        scope=recipe.scope,
        form=form,
        top=recipe.teacher_top,
        temperature=loss.settings.temperature or 1.0,
    )


def _first_tokens(data: Data) -> Any:
    return torch.from_numpy(data.train[0].tokens)


def _with_steps(recipe: Recipe, settled: Settled) -> Recipe:
    if recipe.steps is not None or settled.steps is None:
        return recipe
    gap = recipe.validation_gap(len(settled.data.train))
    return dataclasses.replace(recipe, steps=settled.steps, validate_steps=gap)


def _noted(settled: Settled) -> Settled:
    """With a note of the rows that are passed over."""
    data = settled.data
    if not data.unlabelled:
        return settled
    note = (
        f"{len(data.unlabelled)} rows have no answer and were not trained on; ensemble-distil uses such"
    )
    return dataclasses.replace(settled, data=dataclasses.replace(data, notes=(*data.notes, note)))


def _check_rows(fitting: Fitting, data: Data) -> None:
    if not data.train:
        raise InputError(
            f"{fitting.name}: none of the training rows has an answer; give rows with right answers"
        )

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import transformers

from muscle_gov import Fitting, FitStanding, InputError, ModelFacts
from muscle_gov.logs import content_hash, read_json
from muscle_gov_plugins import _fit_card as card
from muscle_gov_plugins._fit_adapters import Lora, as_teacher, base_of, student_of
from muscle_gov_plugins._fit_asker import target_counts
from muscle_gov_plugins._fit_head import Parts
from muscle_gov_plugins._fit_recipe import Recipe
from muscle_gov_plugins._fit_rows import Data, Row, read, rows_digest
from muscle_gov_plugins._fit_teachers import Keeping, LiveTeacher, cached_teacher
from muscle_gov_plugins._fit_train import Lesson, Trained, train
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


class Work:
    """A fit in hand: its models, as they are trained on, and its folders."""

    def __init__(self, fitting: Fitting, recipe: Recipe, needs: frozenset[str]) -> None:
        self.fitting, self.recipe = fitting, recipe
        self.candidate = _hf(fitting.new, "new")
        self.new = _in_precision(self.candidate, recipe)
        self.base = base_of(self.new)
        self.old = None
        if fitting.old is not None:
            self.old = _in_precision(_hf(fitting.old, "old"), recipe)
            _check_tokenizers(self.old, self.new)
        elif needs & {"old"}:
            raise InputError(f"{fitting.name}: this needs an old model, and there is none")
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(
            self.new.checkpoint().folder, trust_remote_code=self.new.trust_remote_code
        )
        self.standing = FitStanding(fitting.name)

    @property
    def teachers(self) -> Path:
        """Where all mitigations of an update keep what teachers say."""
        return self.fitting.workdir.parent / "teachers"

    @property
    def pad(self) -> int:
        """A token to fill up with; nothing looks at it."""
        found = self.tokenizer.pad_token_id
        return int(found if found is not None else self.tokenizer.eos_token_id or 0)

    def tell(self, phase: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
        """Say how far it is."""
        told = self.standing
        if told.phase != phase:
            told.figures = {}
        told.phase, told.done, told.total = phase, done, total
        if figures is not None:
            told.figures = figures
        self.fitting.watch(told)

    @property
    def limit_tokens(self) -> int | None:
        """Most tokens of a row."""
        return self.recipe.max_length or _context(self.new)

    def result(self) -> HfLoader:
        """The candidate with the adapter that is, or will be, in the fitting's folder."""
        folder = self.fitting.workdir / "adapter"
        return dataclasses.replace(self.candidate, adapter=folder, adapter_revision=None)

    def read(self) -> Data:
        """The training data, as the candidate would be asked."""
        self.tell("reading data", 0, 0)
        return read(
            self.fitting.training,
            self.new,
            self.tokenizer,
            validation=self.recipe.validation,
            seed=self.recipe.seed,
            limit_tokens=self.limit_tokens,
        )

    def old_teacher(self, rows: Sequence[Row], keeping: Keeping) -> Any:
        """What the old model says of rows; it is loaded only if that is not known yet."""
        if self.old is None:
            raise InputError(f"{self.fitting.name}: this needs an old model, and there is none")
        return self._teacher("old", self.old, rows, keeping, None)

    def new_teacher(self, rows: Sequence[Row], keeping: Keeping, student: Any = None) -> Any:
        """What the candidate says of rows; computed by the student's network where that is given."""
        inside = None if student is None else (lambda: as_teacher(student))
        return self._teacher("new", self.new, rows, keeping, inside)

    def _teacher(
        self, which: Any, loader: HfLoader, rows: Sequence[Row], keeping: Keeping, opened: Any
    ) -> Any:
        keeping = _settled_form(loader, rows, keeping, self.fitting.workdir)
        key = content_hash(_identity(loader.facts()), rows_digest(rows), dataclasses.asdict(keeping))
        return cached_teacher(
            loader,
            rows,
            self.teachers / f"{which}-{key}",
            keeping,
            which=which,
            watch=lambda done, total: self.tell(f"asking the {which} model", done, total),
            opened=opened,
        )


# ------------------------------------------------------------------------------------------- the whole


def fit(plan: Plan, fitting: Fitting) -> HfLoader:
    """Train by the plan, or go on with it, or return what is there. Raises InputError, ModelError."""
    loss = Loss(plan.row, plan.settings)
    work = Work(fitting, plan.recipe, loss.needs)
    key = claim(fitting, plan.kind, plan.options)
    result = work.result()
    if card.is_whole(fitting.workdir / "adapter", key):
        work.tell("done", 1, 1)
        return result
    started = time.monotonic()
    with settings(work.new.threads):
        data = work.read()
        _check_data(fitting, data.digest)
        settled = Settled(data, plan.settings)
        if plan.settle is not None:
            settled = plan.settle(work, data)
            loss = Loss(plan.row, settled.settings)
        _check_rows(fitting, settled.data)
        trained, about = _trained(work, plan, loss, settled.data)
        gc.collect()
        release()
    record = card.record(
        work, plan, loss, settled, trained, about | {"key": key, "seconds": time.monotonic() - started}
    )
    card.write(fitting.workdir / "adapter", trained.adapter, record)
    shutil.rmtree(fitting.workdir / "training")
    work.tell("done", 1, 1)
    return result


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
    recipe, own = work.recipe, work.new.adapter_checkpoint()
    start = None if own is None or is_fresh else own.folder
    try:
        model, _ = load(work.base)
        tuned = student_of(model, start, _shape(recipe, own.folder if own else None, start))
        yield tuned
    finally:
        del model, tuned


def _shape(recipe: Recipe, own: Path | None, start: Path | None) -> Lora:
    """What the student's adapter is like; a fresh one is like the candidate's unless told otherwise."""
    rank, alpha = recipe.rank, recipe.alpha
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


# ------------------------------------------------------------------------------------------ what is checked


def _hf(loader: Any, which: str) -> HfLoader:
    if not isinstance(loader, HfLoader):
        raise InputError(
            f"the {which} model: mitigations train models of the loader hf, and this is "
            f"{type(loader).__name__}"
        )
    return loader


def _in_precision(loader: HfLoader, recipe: Recipe) -> HfLoader:
    if recipe.precision != "auto":
        return dataclasses.replace(loader, dtype=recipe.precision)
    if loader.dtype_name() == "float16":
        raise InputError(
            f"{loader.path}: float16 is too narrow to train in; set precision = "
            '"bfloat16" or "float32"'
        )
    return loader


def _check_tokenizers(old: HfLoader, new: HfLoader) -> None:
    if old.facts().digests["tokenizer"] != new.facts().digests["tokenizer"]:
        raise InputError(
            f"{old.path} and {new.path}: the old and the new model have different tokenizers; to learn "
            "from the old one token by token needs one tokenizer"
        )


def _check_rows(fitting: Fitting, data: Data) -> None:
    if not data.train:
        raise InputError(
            f"{fitting.name}: none of the training rows has an answer; give rows with right answers"
        )


def _context(loader: HfLoader) -> int | None:
    """Most tokens of a sequence, by the model's config."""
    from muscle_gov_plugins._model_files import read_config

    if loader.max_context is not None:
        return loader.max_context
    config = read_config(loader.checkpoint().folder)
    text = config.get("text_config", config)
    known = [text.get(name) for name in ("n_positions", "max_position_embeddings", "n_ctx")]
    return next((int(value) for value in known if value), None)


def _first_tokens(data: Data) -> Any:
    import torch

    return torch.from_numpy(data.train[0].tokens)


def claim(fitting: Fitting, kind: str, options: Mapping[str, Any]) -> str:
    """The key of this fit; the folder is marked with it. Raises InputError if it is another's."""
    facts = {"new": _identity(fitting.new.facts())}
    if fitting.old is not None:
        facts["old"] = _identity(fitting.old.facts())
    suites = {
        name: dataclasses.asdict(suite.facts()) if not hasattr(suite, "members") else name
        for name, suite in fitting.training.items()
    }
    key = content_hash({"kind": kind, "options": options, "models": facts, "data": suites})
    fitting.workdir.mkdir(parents=True, exist_ok=True)
    _mark(
        fitting.workdir / "key.json",
        key,
        f"{fitting.workdir}: holds the training of other models, data or options; give another folder, "
        "or remove this one",
    )
    return key


def _check_data(fitting: Fitting, digest: str) -> None:
    """Raises InputError where a run that was begun had other rows."""
    _mark(
        fitting.workdir / "data.json",
        digest,
        f"{fitting.workdir}: the training data have changed since this training was begun; put them back, "
        "or remove the folder",
    )


def _mark(file: Path, value: str, problem: str) -> None:
    """Leave a value in a file. Raises InputError with `problem` where another one is there."""
    if not file.is_file():
        card.write_bytes(file, orjson.dumps({"is": value}))
    elif read_json(file) != {"is": value}:
        raise InputError(problem)


def _settled_form(
    loader: HfLoader, rows: Sequence[Row], keeping: Keeping, workdir: Path
) -> Keeping:
    """With `auto` settled: what is kept whole is the same for losses of every temperature, which then
    share it."""
    from muscle_gov_plugins._model_files import read_config

    config = read_config(loader.checkpoint().folder)
    width = config.get("text_config", config).get("vocab_size") or 1 << 20
    size = int(width) * (4 if loader.dtype_name() == "float32" else 2)
    needed = size * int(target_counts(rows, keeping.scope).sum())
    fits = needed <= min(keeping.most_bytes, shutil.disk_usage(workdir).free / 4)
    form = keeping.form if keeping.form != "auto" else ("full" if fits else "top")
    if form == "top":
        return dataclasses.replace(keeping, form=form)
    return Keeping(scope=keeping.scope, form=form)


def _identity(facts: ModelFacts) -> dict[str, Any]:
    """What of a model's facts says that it is the same model."""
    return {
        "digests": dict(facts.digests),
        "dtype": facts.dtype,
        "quantization": facts.quantization,
        "chat_template": facts.chat_template,
        "settings": dict(facts.settings),
    }


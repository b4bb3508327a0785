"""A fit in hand: its two models as they are trained on, its folders, and what it tells of its progress.

A folder belongs to one fit: it is marked with all that the fit depends on, and refused to any other.
What teachers say is kept beside it, where all mitigations of an update find it.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from muscle_gov import FitStanding, Fitting, InputError, ModelFacts
from muscle_gov.logs import content_hash, read_json
from muscle_gov_plugins._fit_adapters import as_teacher
from muscle_gov_plugins._fit_asker import target_counts
from muscle_gov_plugins._fit_card import write_bytes
from muscle_gov_plugins._fit_check import models_of
from muscle_gov_plugins._fit_lock import held
from muscle_gov_plugins._fit_recipe import Recipe
from muscle_gov_plugins._fit_rows import Data, Row, read, rows_digest
from muscle_gov_plugins._fit_teachers import Keeping, cached_teacher
from muscle_gov_plugins._model_files import fetch_adapter, read_config
from muscle_gov_plugins.loader_hf import HfLoader


class Work:
    """A fit in hand: its models, as they are trained on, and its folders."""

    def __init__(self, fitting: Fitting, recipe: Recipe, needs: frozenset[str]) -> None:
        self.fitting, self.recipe = fitting, recipe
        models = models_of(fitting, recipe, needs)
        self.candidate, self.new = models.candidate, models.new
        self.base, self.old = models.base, models.old
        self.standing = FitStanding(fitting.name)

    @cached_property
    def tokenizer(self) -> Any:
        """The candidate's, which is the old model's too."""
        import transformers

        return transformers.AutoTokenizer.from_pretrained(
            self.new.checkpoint().folder, trust_remote_code=self.new.trust_remote_code
        )

    def own_adapter(self) -> Path | None:
        """Folder of the candidate's adapter, its weights fetched."""
        own = self.new.adapter_checkpoint()
        if own is None:
            return None
        fetch_adapter(own)
        return own.folder

    @property
    def teachers(self) -> Path:
        """Where all mitigations of an update keep what teachers say."""
        return self.fitting.workdir.parent / "teachers"

    @property
    def pad(self) -> int:
        """A token to fill up with; nothing looks at it."""
        found = self.tokenizer.pad_token_id
        return int(found if found is not None else self.tokenizer.eos_token_id or 0)

    def tell(
        self, phase: str, done: int, total: int, figures: Mapping[str, float] | None = None
    ) -> None:
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
        """The training data, as the candidate would be asked. Raises InputError, as `check_data`."""
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


# ------------------------------------------------------------------------------------ what is checked


def _context(loader: HfLoader) -> int | None:
    """Most tokens of a sequence, by the model's config."""
    if loader.max_context is not None:
        return loader.max_context
    config = read_config(loader.checkpoint().folder)
    text = config.get("text_config", config)
    known = [text.get(name) for name in ("n_positions", "max_position_embeddings", "n_ctx")]
    return next((int(value) for value in known if value), None)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """No other process trains in this folder meanwhile. Raises InputError if one does."""
    with held(folder / "lock", wait=False) as is_mine:
        if not is_mine:
            raise InputError(f"{folder}: another process is training here; wait until it has ended")
        yield


def claim(fitting: Fitting, kind: str, options: Mapping[str, Any]) -> str:
    """The key of this fit; the folder is marked with it. Raises InputError if it is another's.

    Which data it is trained on is not in it: the folder's name says so, and `check_data` by the rows.
    """
    facts = {"new": _identity(fitting.new.facts())}
    if fitting.old is not None:
        facts["old"] = _identity(fitting.old.facts())
    key = content_hash({"kind": kind, "options": options, "models": facts})
    fitting.workdir.mkdir(parents=True, exist_ok=True)
    _mark(
        fitting.workdir / "key.json",
        key,
        f"{fitting.workdir}: holds the training of other models or options; give another folder, "
        "or remove this one",
    )
    return key


def check_data(fitting: Fitting, digest: str) -> None:
    """Raises InputError where a run that was begun had other rows."""
    _mark(
        fitting.workdir / "data.json",
        digest,
        f"{fitting.workdir}: the training data have changed since this training was begun; put them "
        "back, or remove the folder",
    )


def _mark(file: Path, value: str, problem: str) -> None:
    """Leave a value in a file. Raises InputError with `problem` where another one is there."""
    if not file.is_file():
        write_bytes(file, orjson.dumps({"is": value}))
    elif read_json(file) != {"is": value}:
        raise InputError(problem)


def _settled_form(loader: HfLoader, rows: Sequence[Row], keeping: Keeping, workdir: Path) -> Keeping:
    """With `auto` settled: what is kept whole is the same for losses of every temperature, which then
    share it."""
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

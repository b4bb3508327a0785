"""What the old and the new model say of the training data, computed once.

Teachers are frozen, so what they say of a row never changes: it is computed before training, batch by
batch, kept in a folder, and read from there in every epoch. The student's memory is then its own.
Scores are made only of the tokens that are trained on, and kept exactly as the model gives them, or
their k best with the weight of all of them.
"""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch

from muscle_gov import InputError, ModelError
from muscle_gov_plugins._fit_asker import Asker, labels_of, target_counts, tokens_of_logits
from muscle_gov_plugins._fit_lock import held
from muscle_gov_plugins._fit_rows import Row, Scope, by_length, lengths, rows_digest
from muscle_gov_plugins._fit_teacher_store import Layout, Standing, TeacherStore, arrays_of, scores_of
from muscle_gov_plugins._hf_load import default_budget, load, settings
from muscle_gov_plugins._hf_memory import release
from muscle_gov_plugins._hf_plan import Tokens
from muscle_gov_plugins._loss_terms import Full, TeacherTokens, Top

if TYPE_CHECKING:
    from muscle_gov_plugins.loader_hf import HfLoader

Form = Literal["auto", "full", "top", "none"]
Tensor = torch.Tensor


@dataclass(frozen=True)
class Keeping:
    """What of a teacher's outputs is kept, and how."""

    scope: Scope = "answer"
    form: Form = "auto"
    """`full`: all scores. `top`: the best of them and the weight of all. `none`: only whether the label
    is the best, and its log-probability. `auto`: all if they fit, else the best."""
    top: int = 64
    """How many are kept by `top`."""
    temperature: float = 1.0
    """At which `top` weighs all scores; a loss must use the same."""
    most_bytes: int = 256 << 20
    """Up to which `auto` keeps all, if that is at most a quarter of the free disk."""


class Teacher(Protocol):
    """A frozen model's outputs at the tokens of a list of rows that are trained on."""

    about: dict[str, Any]
    """For the report: `which`, `kept` (form), `top`, `bytes`, `rows`, `tokens`, `right` (share of
    tokens of which the label is the best entry), `outside` (mean weight of the entries not kept)."""

    def of(self, places: Sequence[int], device: torch.device | str) -> TeacherTokens:
        """The tokens of the rows at these places of the list, one row after the other."""


# ------------------------------------------------------------------------------------- from a folder


def cached_teacher(
    loader: HfLoader,
    rows: Sequence[Row],
    folder: Path,
    keeping: Keeping,
    *,
    which: Literal["old", "new"],
    watch: Callable[[int, int], None] = lambda _done, _total: None,
    opened: Callable[[], AbstractContextManager[Any]] | None = None,
) -> CachedTeacher:
    """The teacher whose outputs are in `folder`, which is of these rows and this teacher alone.

    What is missing is computed first, going on where an earlier call stopped; the model is loaded only
    then, by `loader` or, if it is loaded already, taken from `opened`. `watch` is told of rows done and
    of all. Raises InputError where the disk has no room or a token is none of the model's, ModelError
    where the model fails.
    """
    _check(rows, keeping.scope)
    store, key = TeacherStore(folder), _key(loader, rows, keeping.scope)
    # mitigations of one update share teachers, and may be trained side by side: one of them computes
    with held(folder.with_name(f"{folder.name}.lock"), wait=True):
        standing = store.whole(key, keeping_accepts(keeping))
        if standing is None:
            standing = _compute(loader, rows, store, key, keeping, watch, opened)
        else:
            watch(len(rows), len(rows))
    return CachedTeacher(store, standing, rows, keeping.scope, which)


class CachedTeacher:
    """Outputs in files that are mapped into memory. See `Teacher`."""

    def __init__(
        self, store: TeacherStore, standing: Standing, rows: Sequence[Row], scope: Scope, which: str
    ) -> None:
        self.layout = standing.layout
        arrays = store.arrays(standing)
        self._small = {name: np.array(arrays[name]) for name in ("right", "logp")}
        self._large = {name: array for name, array in arrays.items() if name not in self._small}
        self._sizes = target_counts(rows, scope)
        order = np.concatenate(list(by_length(lengths(rows), standing.batch_tokens)))
        self._starts = np.empty_like(self._sizes)
        self._starts[order] = np.cumsum(self._sizes[order]) - self._sizes[order]
        tokens = max(1, standing.tokens)
        self.about: dict[str, Any] = {
            "which": which,
            "kept": self.layout.form,
            "top": self.layout.top or None,
            "bytes": standing.tokens * self.layout.bytes_per_token,
            "rows": len(rows),
            "tokens": standing.tokens,
            "right": float(self._small["right"].mean()) if standing.tokens else None,
            "outside": standing.sums.get("outside", 0.0) / tokens if self.layout.top else None,
        }

    def of(self, places: Sequence[int], device: torch.device | str) -> TeacherTokens:
        """The tokens of the rows at these places of the list, one row after the other."""
        chosen = np.asarray(places, np.int64)
        sizes = self._sizes[chosen]
        before = np.cumsum(sizes) - sizes
        tokens = np.arange(int(sizes.sum())) + np.repeat(self._starts[chosen] - before, sizes)
        small = {name: torch.from_numpy(array[tokens]) for name, array in self._small.items()}
        return TeacherTokens(
            right=small["right"].to(device).bool(),
            logp=small["logp"].to(device),
            scores=self._scores(tokens, device),
        )

    def _scores(self, tokens: Tokens, device: torch.device | str) -> Full | Top | None:
        if self.layout.form == "none":
            return None
        if self.layout.form == "full":
            kept: Any = _InFile(self._large["logits"], tokens, self.layout.dtype)
            return Full(kept)
        part = {name: np.asarray(array[tokens]) for name, array in self._large.items()}
        return Top(
            ids=torch.from_numpy(part["ids"]).to(device).long(),
            logits=torch.from_numpy(part["top"]).to(device),
            lse=torch.from_numpy(part["lse"]).to(device),
            temperature=self.layout.temperature,
            width=self.layout.width,
        )


class _InFile:
    """[n, V] scores in a file, read where they are asked for: all of a batch at once would be more than
    the batch itself takes."""

    def __init__(self, array: Any, tokens: Tokens, dtype: str) -> None:
        self._array, self._tokens, self._dtype = array, tokens, dtype
        self.shape = (len(tokens), array.shape[1])

    def __len__(self) -> int:
        return len(self._tokens)

    def __getitem__(self, places: slice | torch.Tensor) -> torch.Tensor:
        wanted = self._tokens[places if isinstance(places, slice) else places.numpy()]
        return scores_of(np.asarray(self._array[wanted]), self._dtype)


def _check(rows: Sequence[Row], scope: Scope) -> None:
    if not rows:
        raise InputError("training: there are no rows to ask a model about")
    empty = [row for row, count in zip(rows, target_counts(rows, scope), strict=True) if not count]
    if empty:
        raise InputError(
            f"{empty[0].suite}: row {empty[0].key!r} has no token to be predicted; rows without an "
            "answer must be filled in first"
        )


def keeping_accepts(keeping: Keeping) -> Callable[[Layout], bool]:
    """Tells whether what is kept in a layout is what was asked for."""

    def accepts(layout: Layout) -> bool:
        if layout.form != keeping.form and not (
            keeping.form == "auto" and layout.form in ("full", "top")
        ):
            return False
        if layout.form != "top":
            return True
        return (layout.top, layout.temperature) == (
            min(keeping.top, layout.width),
            keeping.temperature,
        )

    return accepts


# ---------------------------------------------------------------------------------------- computing


def _compute(
    loader: HfLoader,
    rows: Sequence[Row],
    store: TeacherStore,
    key: str,
    keeping: Keeping,
    watch: Callable[[int, int], None],
    opened: Callable[[], AbstractContextManager[Any]] | None,
) -> Standing:
    with opened() if opened is not None else _loaded(loader) as model:
        asker = Asker(model, rows, str(loader.path))
        standing = store.part(key, keeping_accepts(keeping))
        if standing is None:
            layout = _layout(asker, keeping, int(target_counts(rows, keeping.scope).sum()), store)
            budget = loader.batch_tokens or default_budget(asker.device)
            standing = Standing(key, layout, budget)
        store.begin(standing)
        try:
            done = 0
            for places in by_length(lengths(rows), standing.batch_tokens):
                done += len(places)
                if done <= standing.rows:
                    continue
                _ask(asker, [rows[place] for place in places], keeping.scope, store, standing)
                watch(done, len(rows))
            store.finish(standing)
        except BaseException:
            with suppress(InputError):
                store.sync(standing)  # what is done need not be done again
            raise
        finally:
            store.close()
    return standing


def _ask(
    asker: Asker, rows: Sequence[Row], scope: Scope, store: TeacherStore, standing: Standing
) -> None:
    """One batch: asked, then written as a whole."""
    layout = standing.layout
    labels = torch.from_numpy(labels_of(rows, scope))
    kept: list[dict[str, np.ndarray[Any, Any]]] = []
    outside = 0.0
    start = 0
    for logits in asker.answer(rows, scope):
        part = labels[start : start + len(logits)].to(logits.device)
        start += len(logits)
        found = tokens_of_logits(logits, part, layout.form, layout.top, layout.temperature)
        if not bool(torch.isfinite(found.logp).all()):
            raise ModelError(
                f"{asker.name}: gives scores that are no numbers, in rows about {rows[0].key!r} of "
                f"{rows[0].suite}; check its weights and its dtype"
            )
        kept.append(arrays_of(found))
        outside += _outside(found)
    joined = {name: np.concatenate([one[name] for one in kept]) for name in kept[0]}
    store.append(standing, len(rows), joined, {"outside": outside})


def _layout(asker: Asker, keeping: Keeping, tokens: int, store: TeacherStore) -> Layout:
    """How the outputs are kept. Raises InputError where the disk has no room for them."""

    def made(form: str) -> Layout:
        top = min(keeping.top, asker.width) if form == "top" else 0
        temperature = keeping.temperature if form == "top" else 1.0
        return Layout(form, asker.width, asker.dtype, top, temperature)

    room = store.room()
    full = made("full").bytes_per_token * tokens
    form: str = keeping.form
    if form == "auto":
        form = "full" if full <= min(keeping.most_bytes, room / 4) else "top"
    layout = made(form)
    needed = layout.bytes_per_token * tokens + (1 << 20)
    if needed > room:
        raise InputError(
            f"{store.folder}: what {asker.name} says of {tokens:,} tokens takes {needed / 1e9:.2f} GB, "
            f"and the disk has {room / 1e9:.2f} GB free; make room, use another disk, or keep less of it"
        )
    return layout


@contextmanager
def _loaded(loader: HfLoader) -> Iterator[Any]:
    with settings(loader.threads):
        try:
            model, _ = load(loader)
            yield model
        finally:
            model = None
            gc.collect()
            release()


# ------------------------------------------------------------------------------------------ uncached


class LiveTeacher:
    """The same outputs, computed anew for every batch. See `Teacher`."""

    def __init__(
        self,
        model: Any,
        rows: Sequence[Row],
        keeping: Keeping,
        *,
        which: Literal["old", "new"] = "new",
        around: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        """`around` is entered while the model is asked, such as one in which a student's own adapter is
        switched off. The form `auto` is `full`."""
        self.rows, self.keeping, self.around = rows, keeping, around
        self.form = "full" if keeping.form == "auto" else keeping.form
        with around():
            self.asker = Asker(model, rows, which)
        self.about: dict[str, Any] = {
            "which": which,
            "kept": "nothing, computed anew for each batch",
            "top": keeping.top if self.form == "top" else None,
            "bytes": 0,
            "rows": len(rows),
            "tokens": int(target_counts(rows, keeping.scope).sum()),
            "right": None,
            "outside": None,
        }

    def of(self, places: Sequence[int], device: torch.device | str) -> TeacherTokens:
        """The tokens of the rows at these places of the list, one row after the other."""
        rows = [self.rows[place] for place in places]
        scope = self.keeping.scope
        with self.around(), torch.no_grad():
            logits = torch.cat(list(self.asker.answer(rows, scope))).to(device)
            labels = torch.from_numpy(labels_of(rows, scope)).to(device)
            return tokens_of_logits(
                logits, labels, self.form, self.keeping.top, self.keeping.temperature
            )


# ------------------------------------------------------------------------------------------- helpers


def _key(loader: HfLoader, rows: Sequence[Row], scope: Scope) -> str:
    """What the outputs depend on, besides how they are kept."""
    told = dataclasses.asdict(loader.facts())
    del told["name"], told["remarks"]
    made_of = {"model": told, "rows": rows_digest(rows), "scope": scope}
    return hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()


def _outside(found: TeacherTokens) -> float:
    """Weight of the entries that are not kept, summed over the tokens."""
    if not isinstance(found.scores, Top):
        return 0.0
    top = found.scores
    inside = (top.logits / top.temperature - top.lse[:, None]).double().exp().sum(1)
    return float((1 - inside).clamp_min(0).sum())

"""Asks a frozen model for its scores of the next token, at the tokens of rows that are trained on."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from muscle_gov import InputError, ModelError
from muscle_gov_plugins._fit_head import Parts
from muscle_gov_plugins._fit_rows import Row, Scope, collate, first_target
from muscle_gov_plugins._hf_memory import is_out_of_memory, release
from muscle_gov_plugins._hf_plan import Tokens
from muscle_gov_plugins._loss_terms import Full, TeacherTokens, Top

Tensor = torch.Tensor


class Asker:
    """A loaded model that gives its scores at the tokens of rows."""

    def __init__(self, model: Any, rows: Sequence[Row], name: str) -> None:
        """Tries the model on a part of the first row. Raises InputError where a token of a row is none
        of the model's."""
        self.model, self.name = model, name
        self.device = torch.device(model.device)
        longest = max(rows, key=lambda row: len(row.tokens))
        self._check_tokens(rows)
        tokens = torch.from_numpy(longest.tokens[:16])
        with torch.no_grad():
            own = model(input_ids=tokens[None].to(self.device), use_cache=False).logits
        self.width, self.dtype = int(own.shape[-1]), str(own.dtype).removeprefix("torch.")
        self._cuts = "logits_to_keep" in inspect.signature(_plain(model).forward).parameters
        self.parts: Parts | None
        try:
            self.parts = Parts(model)
            self.parts.check(tokens, name)
        except (ModelError, AttributeError, TypeError):  # then all of the model's scores are taken
            self.parts = None

    def _check_tokens(self, rows: Sequence[Row]) -> None:
        known = int(self.model.get_input_embeddings().weight.shape[0])
        for row in rows:
            if len(row.tokens) and int(row.tokens.max()) >= known:
                raise InputError(
                    f"{row.suite}: row {row.key!r} has the token {int(row.tokens.max())}, but "
                    f"{self.name} knows {known}; old and new must share one tokenizer"
                )

    def answer(self, rows: Sequence[Row], scope: Scope) -> Iterator[Tensor]:
        """[m, V] scores of the wanted tokens in their order, some at a time, without gradients."""
        try:
            found = list(self._run(rows, scope))
        except Exception as error:
            if not is_out_of_memory(error) or len(rows) == 1:
                raise
            found = None
        if found is not None:
            yield from found
            return
        release()
        middle = len(rows) // 2
        yield from self.answer(rows[:middle], scope)
        yield from self.answer(rows[middle:], scope)

    @torch.no_grad()
    def _run(self, rows: Sequence[Row], scope: Scope) -> Iterator[Tensor]:
        batch = {name: part.to(self.device) for name, part in collate(rows, 0).items()}
        counts = target_counts(rows, scope)
        firsts = np.array([first_target(row, scope) for row in rows], np.int64)
        before = np.cumsum(counts) - counts
        # a token is predicted by what the model says at the one before it
        places = np.arange(int(counts.sum())) + np.repeat(firsts - 1 - before, counts)
        owners = torch.from_numpy(np.repeat(np.arange(len(rows)), counts)).to(self.device)
        if self.parts is not None:
            hidden = self.parts.hidden(batch["input_ids"], batch["attention_mask"])
            wanted = hidden[owners, torch.from_numpy(places).to(self.device)]
            size = max(64, (1 << 25 if self.device.type == "cpu" else 1 << 27) // self.width)
            for start in range(0, len(wanted), size):
                yield self.parts.scores(wanted[start : start + size])
            return
        skipped = int(firsts.min()) - 1 if self._cuts else 0
        keep = {"logits_to_keep": batch["input_ids"].shape[1] - skipped} if self._cuts else {}
        logits = self.model(**batch, use_cache=False, **keep).logits
        yield logits[owners, torch.from_numpy(places - skipped).to(self.device)]


def tokens_of_logits(
    logits: Tensor, labels: Tensor, form: str, top: int, temperature: float
) -> TeacherTokens:
    """What a teacher says, from its scores [n, V] and the labels [n]; `form` is `full`, `top` or
    `none`."""
    scores = logits.float()
    of_label = scores.gather(1, labels[:, None])[:, 0]
    whole = torch.logsumexp(scores, 1)
    kept: Full | Top | None = None
    if form == "full":
        kept = Full(logits)
    elif form == "top":
        best, ids = scores.topk(min(top, scores.shape[1]), 1)
        lse = whole if temperature == 1 else torch.logsumexp(scores / temperature, 1)
        kept = Top(ids, best, lse, temperature, scores.shape[1])
    return TeacherTokens(right=scores.argmax(1) == labels, logp=of_label - whole, scores=kept)


def target_counts(rows: Sequence[Row], scope: Scope) -> Tokens:
    """Tokens of each row that are predicted."""
    counts = (len(row.tokens) - first_target(row, scope) for row in rows)
    return np.fromiter(counts, np.int64, len(rows))


def labels_of(rows: Sequence[Row], scope: Scope) -> Tokens:
    """The tokens that are predicted, one row after the other."""
    return np.concatenate([row.tokens[first_target(row, scope) :] for row in rows])


def _plain(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model

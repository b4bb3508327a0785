"""How good a model is on rows that it was not trained on, by teacher forcing.

A row is right if every token of its answer, the end of the text included, is the model's best one. That
is what greedy decoding would write, at a tenth of the price.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from muscle_gov_plugins._fit_batches import IGNORED, Batches
from muscle_gov_plugins._fit_head import Parts
from muscle_gov_plugins._fit_rows import Row, by_length, lengths
from muscle_gov_plugins._hf_load import default_budget

Tensor = torch.Tensor


@dataclass(frozen=True, eq=False)
class Measured:
    """A model on rows."""

    loss: float
    """Mean cross-entropy of the answers' tokens, in nats."""
    right: npt.NDArray[np.bool_]
    """[rows]: is the whole answer right?"""

    @property
    def accuracy(self) -> float:
        """Share of rows that are right."""
        return float(self.right.mean()) if len(self.right) else 0.0

    def flips_from(self, old: npt.NDArray[np.bool_]) -> float:
        """NFR: share of rows that the old model has right and this one has wrong."""
        return float((old & ~self.right).mean()) if len(self.right) else 0.0


def measure(
    parts: Parts,
    rows: Sequence[Row],
    pad: int,
    chunk: int,
    watch: Callable[[int, int], None] = lambda _done, _total: None,
) -> Measured:
    """The model as it is now, in evaluation mode, on labelled rows; its mode is left as it was."""
    collate = Batches(rows, "answer", pad)
    most_tokens = 4 * default_budget(parts.device)
    right = np.ones(len(rows), np.bool_)
    loss, count, done = 0.0, 0, 0
    was_training = parts.base.training
    parts.model.eval()
    try:
        with torch.no_grad():
            for places in by_length(lengths(rows), most_tokens):
                found, is_best, owner = _answers(parts, collate(places.tolist()), chunk)
                loss, count = loss + found, count + len(owner)
                right[places[owner[~is_best]]] = False
                done += len(places)
                watch(done, len(rows))
    finally:
        parts.model.train(was_training)
    return Measured(loss / max(1, count), right)


def _answers(parts: Parts, batch: dict[str, Tensor], chunk: int) -> tuple[float, Any, Any]:
    """(sum of cross-entropies, [n] is the token the best one, [n] which row of the batch)."""
    hidden, labels, owner = predicted(parts, batch)
    loss, best = 0.0, []
    for start in range(0, len(labels), chunk):
        scores = parts.scores(hidden[start : start + chunk]).float()
        part = labels[start : start + chunk]
        loss += float(torch.nn.functional.cross_entropy(scores, part, reduction="sum"))
        best.append((scores.argmax(-1) == part).cpu())
    return loss, torch.cat(best).numpy(), owner.cpu().numpy()


def predicted(parts: Parts, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """(hidden states [n, H] that predict, the tokens [n] that they predict, their rows [n])."""
    wanted = batch["labels"][:, 1:].to(parts.device) != IGNORED
    hidden = parts.hidden(batch["input_ids"].to(parts.device), batch["attention_mask"].to(parts.device))
    labels = batch["labels"][:, 1:].to(parts.device)[wanted]
    return hidden[:, :-1][wanted], labels, wanted.nonzero()[:, 0]

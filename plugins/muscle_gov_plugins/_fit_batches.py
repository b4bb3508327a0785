"""Batches of rows: in which order, and which of their tokens are predicted from what.

Rows of like length go together, so that little is padding; which rows those are is drawn anew in each
epoch, from the seed and the epoch's number alone. So a run that goes on where it stopped sees the very
batches that it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from muscle_gov_plugins._fit_rows import Row, Scope, collate, first_target, lengths

Tensor = torch.Tensor

_STEPS_SORTED = 16
"""Rows of so many steps are sorted by length together: enough to spare padding, few enough that batches
differ from epoch to epoch."""
IGNORED = -100
"""What stands for a token that is not predicted; transformers' own number for it."""


class Order(torch.utils.data.Sampler[int]):
    """Places of the rows in the order of one epoch: batch after batch, only the last one not full."""

    def __init__(self, rows: Sequence[Row], batch_rows: int, accumulation: int, seed: int) -> None:
        self.lengths = lengths(rows)
        self.batch_rows, self.seed, self.epoch = batch_rows, seed, 0
        self.sorted_rows = batch_rows * accumulation * _STEPS_SORTED

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        chance = np.random.default_rng((self.seed, self.epoch))
        drawn = chance.permutation(len(self.lengths))
        batches: list[Any] = []
        for start in range(0, len(drawn), self.sorted_rows):
            part = drawn[start : start + self.sorted_rows]
            part = part[np.argsort(self.lengths[part], kind="stable")]
            cuts = range(0, len(part), self.batch_rows)
            batches += [part[cut : cut + self.batch_rows] for cut in cuts]
        full = [batch for batch in batches if len(batch) == self.batch_rows]
        rest = [batch for batch in batches if len(batch) < self.batch_rows]
        shuffled = [full[place] for place in chance.permutation(len(full))]
        return iter(np.concatenate([*shuffled, *rest]).tolist())


class Batches:
    """Makes a batch of places of rows."""

    def __init__(self, rows: Sequence[Row], scope: Scope, pad: int) -> None:
        self.rows, self.scope, self.pad = rows, scope, pad

    def __call__(self, places: Sequence[int]) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask`; `labels`, the token itself where it is predicted, else -100;
        `is_answer`; all of shape (rows, longest). And `places` [rows]."""
        chosen = [self.rows[place] for place in places]
        batch = collate(chosen, self.pad)
        ids = batch["input_ids"]
        labels = torch.full_like(ids, IGNORED)
        is_answer = torch.zeros_like(ids, dtype=torch.bool)
        for number, row in enumerate(chosen):
            wanted = slice(first_target(row, self.scope), len(row.tokens))
            labels[number, wanted] = ids[number, wanted]
            is_answer[number, row.prompt : len(row.tokens)] = True
        return batch | {
            "labels": labels,
            "is_answer": is_answer,
            "places": torch.tensor(list(places), dtype=torch.int64),
        }

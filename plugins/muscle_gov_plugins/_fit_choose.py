"""Chooses one of several mixtures or adapters, on rows held out of the training data alone.

What the gate judges is never looked at. The rule is stated beforehand and kept in the record with
everything that was tried: the fewest negative flips among those that cost no accuracy.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from muscle_gov import InputError
from muscle_gov_plugins._fit_asker import labels_of, target_counts
from muscle_gov_plugins._fit_rows import Row
from muscle_gov_plugins._fit_teachers import Keeping
from muscle_gov_plugins._loss_terms import Full, TeacherTokens, Top

if TYPE_CHECKING:
    from muscle_gov_plugins._fit_work import Work

Tensor = torch.Tensor
Bools = npt.NDArray[np.bool_]

_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class Tried:
    """One setting, and what it does on the held-out rows."""

    value: float
    accuracy: float
    """Share of rows whose whole answer is right, by teacher forcing."""
    nfr: float
    """Share of rows that the old model has right and this one wrong."""


def choose(tried: Sequence[Tried], candidate: float, tolerance: float) -> Tried:
    """The least NFR among those whose accuracy is at most `tolerance` below the candidate's.

    Ties go to the higher accuracy, then to the one tried first. Where all lose more accuracy, it is the
    one of the highest, and of these the least NFR. `tried` is not empty.
    """
    fit = [one for one in tried if one.accuracy >= candidate - tolerance - 1e-12]
    if fit:
        return min(fit, key=lambda one: (one.nfr, -one.accuracy))
    return min(tried, key=lambda one: (-one.accuracy, one.nfr))


def told(
    what: str, tried: Sequence[Tried], chosen: Tried, candidate: float, tolerance: float, rows: int
) -> dict[str, Any]:
    """The choice, for the record."""
    return {
        "rule": (
            f"Of each {what}, accuracy (whole answer right, by teacher forcing) and NFR against the old "
            f"model on {rows} rows held out of the training data. Chosen: the least NFR among those at "
            f"most {100 * tolerance:g} points of accuracy below the candidate's "
            f"{100 * candidate:.2f} %; ties go to the higher accuracy."
        ),
        "tried": [
            {what: one.value, "accuracy": one.accuracy, "nfr": one.nfr, "chosen": one == chosen}
            for one in tried
        ],
        "chosen": chosen.value,
        "candidate_accuracy": candidate,
        "tolerance": tolerance,
        "rows": rows,
    }


def old_right(work: Work, rows: Sequence[Row]) -> Bools:
    """[rows]: does the old model have the whole answer right?"""
    teacher = work.old_teacher(rows, Keeping(scope="answer", form="none"))
    right: Bools = teacher.of(range(len(rows)), "cpu").right.numpy()
    return whole(right, rows)


def whole(right: Bools, rows: Sequence[Row]) -> Bools:
    """[rows] from [tokens of their answers]: are all of a row's tokens right?"""
    counts = target_counts(rows, "answer")
    starts = np.cumsum(counts) - counts
    found: Bools = np.logical_and.reduceat(right, starts) if len(rows) else np.empty(0, np.bool_)
    return found


# -------------------------------------------------------------------------------- weights of a mixture


def choose_weight(
    work: Work, rows: Sequence[Row], weights: Sequence[float], tolerance: float
) -> tuple[float, dict[str, Any]]:
    """(the old model's weight in the mixture, how it was chosen).

    From what both models say of the held-out rows. Raises InputError where there are none.
    """
    if not rows:
        raise InputError(
            f"{work.fitting.name}: weight: there are no rows with right answers to choose it by; give a "
            "number"
        )
    keeping = Keeping(scope="answer", form=work.recipe.teacher_form, top=work.recipe.teacher_top)
    old, new = work.old_teacher(rows, keeping), work.new_teacher(rows, keeping)
    right = {weight: np.empty(len(rows), np.bool_) for weight in (1.0, 0.0, *weights)}
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        work.tell("choosing", start, len(rows))
        part = rows[start : start + _ROWS_AT_ONCE]
        places = range(start, start + len(part))
        labels = torch.from_numpy(labels_of(part, "answer"))
        said = _read(old.of(places, "cpu")), _read(new.of(places, "cpu"))
        for weight, found in right.items():
            tokens = _mixture_right(*said, labels, weight).numpy()
            found[start : start + len(part)] = whole(tokens, part)
    tried = [_tried(weight, right[weight], right[1.0]) for weight in weights]
    candidate = float(right[0.0].mean())
    chosen = choose(tried, candidate, tolerance)
    return chosen.value, told("weight", tried, chosen, candidate, tolerance, len(rows))


def _read(tokens: TeacherTokens) -> TeacherTokens:
    """With all scores in memory."""
    if isinstance(tokens.scores, Full):
        return dataclasses.replace(tokens, scores=tokens.scores.at(slice(None), torch.device("cpu")))
    return tokens


def _tried(value: float, right: Bools, old: Bools) -> Tried:
    return Tried(value, float(right.mean()), float((old & ~right).mean()))


def _mixture_right(old: TeacherTokens, new: TeacherTokens, labels: Tensor, weight: float) -> Tensor:
    """[n]: is the label the best entry of weight·old + (1 - weight)·new?"""
    if weight in (0.0, 1.0):
        return old.right if weight else new.right
    ids, old_log, new_log = _both(old.scores, new.scores)
    mixed = torch.logaddexp(old_log + math.log(weight), new_log + math.log1p(-weight))
    best = mixed.argmax(1, keepdim=True)
    return (best if ids is None else ids.gather(1, best))[:, 0] == labels


def _both(old: Full | Top | None, new: Full | Top | None) -> tuple[Tensor | None, Tensor, Tensor]:
    """(entries [n, m] or None for all, their log-probabilities by old [n, m], by new [n, m])."""
    if isinstance(old, Full) and isinstance(new, Full):
        width = max(old.logits.shape[1], new.logits.shape[1])
        return None, _all(old.logits, width), _all(new.logits, width)
    entries = torch.cat([_entries(side) for side in (old, new)], 1)
    return entries, _of(old, entries), _of(new, entries)


def _all(logits: Tensor, width: int) -> Tensor:
    found = torch.log_softmax(logits.float(), 1)
    return torch.nn.functional.pad(found, (0, width - found.shape[1]), value=-math.inf)


def _entries(scores: Full | Top | None) -> Tensor:
    """Entries that may be the best of a mixture: the best of each member."""
    if isinstance(scores, Top):
        return scores.ids
    if isinstance(scores, Full):
        return scores.logits.float().topk(min(64, scores.logits.shape[1]), 1).indices
    raise InputError("a teacher was kept without its scores; remove its folder and try again")


def _of(scores: Full | Top | None, entries: Tensor) -> Tensor:
    """Log-probabilities of some entries. One that was not kept counts as likely as the rest of them on
    average: it never is the best of its member, and hardly ever of the mixture."""
    if isinstance(scores, Full):
        known = torch.log_softmax(scores.logits.float(), 1)
        inside = entries.clamp(max=known.shape[1] - 1)
        return known.gather(1, inside).masked_fill(entries >= known.shape[1], -math.inf)
    if not isinstance(scores, Top):
        raise InputError("a teacher was kept without its scores; remove its folder and try again")
    kept = scores.logits.float() - scores.lse[:, None]
    rest = (1 - kept.exp().sum(1)).clamp_min(1e-12).log()
    others = max(1, (scores.width or 1 << 15) - scores.ids.shape[1])
    same = entries[:, :, None] == scores.ids[:, None, :]
    found = torch.where(same, kept[:, None, :], -math.inf).amax(2)
    return torch.where(same.any(2), found, (rest - math.log(others))[:, None])


# -------------------------------------------------------------------------------------------- points


def choose_point(
    points: Iterable[tuple[float, Bools]], old: Bools, candidate: Bools, tolerance: float
) -> tuple[float, dict[str, Any]]:
    """(the point on the line between two adapters, how it was chosen), from [rows] rights at each."""
    tried = [_tried(point, right, old) for point, right in points]
    accuracy = float(candidate.mean())
    chosen = choose(tried, accuracy, tolerance)
    return chosen.value, told("point", tried, chosen, accuracy, tolerance, len(old))

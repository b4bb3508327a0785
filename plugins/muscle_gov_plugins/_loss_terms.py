"""What a loss is computed from, and the distances between a student and a teacher, token by token.

Everything is computed in float32, whatever the model's own precision is. Nothing here waits for the
device: no shape depends on what the numbers are. These are the plain equations, whose gradients autograd
finds; `_loss_fused` has the common ones in fewer passes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LEAST = -100.0
"""Log-probability of what float32 cannot tell from impossible."""
_NOTHING = -1e30
_BLOCK = 64
"""Of how many entries a vocabulary is cut into blocks to find the best; most widths are a multiple."""


@dataclass
class Full:
    """A teacher's raw scores for all entries of its vocabulary."""

    logits: Tensor
    """[n, V], of any floating type; may lie on another device than the student, chunks are moved.

    Not a tensor but anything with a length, a `shape` and `[slice or int64 tensor on the CPU]`, which
    gives a tensor, will do for a loss: such as scores in a file, read where they are asked for."""

    def at(self, places: slice, device: torch.device) -> Full:
        """The scores of some of the tokens, on a device."""
        return Full(self.logits[places].to(device, non_blocking=True))

    def pick(self, places: Tensor, device: torch.device) -> Full:
        """The scores of the tokens at these places [m] int64, on a device."""
        if isinstance(self.logits, Tensor):
            found = self.logits.index_select(0, places.to(self.logits.device))
        else:
            found = self.logits[places.cpu()]
        return Full(found.to(device, non_blocking=True))


@dataclass
class Top:
    """A teacher's k best raw scores, and what all of them weigh together."""

    ids: Tensor
    """[n, k] int64: which entries, each at most once for a token."""
    logits: Tensor
    """[n, k] float32: their raw scores, not divided by the temperature."""
    lse: Tensor
    """[n] float32: logsumexp of all scores, each divided by `temperature`."""
    temperature: float
    width: int | None = None
    """How many entries the teacher scored (V); None: not known, taken to be as many as the student's."""

    def at(self, places: slice, device: torch.device) -> Top:
        """The scores of some of the tokens, on a device."""
        ids, logits, lse = (
            part[places].to(device, non_blocking=True) for part in (self.ids, self.logits, self.lse)
        )
        return Top(ids, logits, lse, self.temperature, self.width)


@dataclass
class TeacherTokens:
    """What a frozen model says at the tokens of a batch."""

    right: Tensor
    """[n] bool: is its best entry the label?"""
    logp: Tensor
    """[n] float32: its log-probability of the label, at temperature 1."""
    scores: Full | Top | None
    """None where only the cases are wanted."""


@dataclass
class BatchTokens:
    """The tokens of a batch that are trained on, all sequences one after the other."""

    labels: Tensor
    """[n] int64: the right next token."""
    rows: Tensor
    """[n] int64: which sequence of the batch, 0 to R-1."""
    is_answer: Tensor
    """[n] bool: a token of the answer, not of the prompt?"""
    old: TeacherTokens | None
    new: TeacherTokens | None


def judge(logits: Tensor, labels: Tensor) -> TeacherTokens:
    """What a model makes of the labels, without a gradient; logits [m, V] float32."""
    scores = logits.detach()
    return TeacherTokens(best_entry(scores) == labels, -cross_entropy(scores, labels), None)


def best_entry(scores: Tensor) -> Tensor:
    """[m] int64: argmax of scores [m, V]; of equals the first, on a CPU."""
    count, width = scores.shape
    if scores.device.type != "cpu" or width % _BLOCK or not scores.is_contiguous():
        return scores.argmax(-1)
    # The best of each block first: a CPU finds a maximum five times as fast as where it is.
    blocks = scores.view(count, -1, _BLOCK)
    block = blocks.amax(-1).argmax(-1)
    inside = blocks[torch.arange(count), block].argmax(-1)
    return block * _BLOCK + inside


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """[m] nats: minus the log-probability of the label, over all entries; logits [m, V] float32."""
    return logits.logsumexp(-1) - logits.gather(1, labels[:, None])[:, 0]


def divergence(
    student: Tensor, teacher: Full | Top, temperature: float, *, reverse: bool = False
) -> Tensor:
    """[m] nats: KL(teacher || student), or KL(student || teacher), of the scores over `temperature`.

    Two vocabularies of different width are compared over the entries that both have, as if they were
    all. A `Top` is compared over its k entries and one for all others together: a lower bound of the KL
    over all entries, and equal to it if k is all of them. student: [m, V] float32.
    """
    if isinstance(teacher, Full):
        width = min(student.shape[1], teacher.logits.shape[1])
        of_teacher = _log_softmax(teacher.logits[:, :width].float(), temperature)
        of_student = _log_softmax(student[:, :width], temperature)
    else:
        of_teacher, of_student = _with_rest(student, teacher, temperature)
    if reverse:
        # A teacher that rules an entry out would make this infinite; 0 counts as the least float32.
        chance = of_student.exp()
        return (chance * (of_student.clamp_min(LEAST) - of_teacher.clamp_min(LEAST))).sum(-1)
    chance = of_teacher.exp()
    gap = torch.where(chance > 0, of_teacher - of_student, 0.0)
    # The difference of the sums is 0 but for rounding, and takes with it the rounding of the KL, which
    # a factor of T² would make visible. It has no gradient.
    slip = of_student.detach().exp() - chance
    return (chance * gap + slip).sum(-1)


def _log_softmax(logits: Tensor, temperature: float) -> Tensor:
    return (logits if temperature == 1 else logits / temperature).log_softmax(-1)


@dataclass
class Listed:
    """What a `Top` says of the entries that it shares with a student, in log-probabilities."""

    best: Tensor
    """[m, k]; -inf for an entry that the student lacks."""
    rest: Tensor | None
    """[m]: all others together; None where there are no others."""
    is_shared: Tensor
    """[m, k] bool: does the student have the entry?"""
    is_silent: Tensor
    """[m] bool: lies all the teacher's weight beyond the student's entries? Then the others are -inf."""


def listed(teacher: Top, temperature: float, width: int) -> Listed:
    """A teacher's chances over the first `width` entries, made to add up to 1 among these."""
    is_shared = teacher.ids < width
    known = teacher.logits.float() / temperature
    scores = known.masked_fill(~is_shared, -torch.inf)
    has_rest = teacher.ids.shape[1] < (teacher.width or width)
    if has_rest:
        rest = _log_1m_exp(known.logsumexp(-1) - teacher.lse) + teacher.lse
        scores = torch.cat([scores, rest[:, None]], -1)
    is_silent = scores.isneginf().all(-1)
    # Normalised anew, for what lies beyond the student's vocabulary is left out.
    chances = scores.log_softmax(-1).masked_fill(is_silent[:, None], -torch.inf)
    best = chances[:, : teacher.ids.shape[1]]
    return Listed(best, chances[:, -1] if has_rest else None, is_shared, is_silent)


def _with_rest(student: Tensor, teacher: Top, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities [m, k+1] of teacher and student over the k entries and all others together."""
    width = min(student.shape[1], teacher.width or student.shape[1])
    told = listed(teacher, temperature, width)
    scaled = student[:, :width] / temperature
    places = teacher.ids.clamp_max(width - 1)
    of_teacher = told.best
    of_student = scaled.gather(1, places).masked_fill(~told.is_shared, -torch.inf)
    if told.rest is not None:
        of_teacher = torch.cat([of_teacher, told.rest[:, None]], -1)
        of_student = torch.cat([of_student, _log_rest(scaled, teacher.ids)], -1)
    of_student = of_student - scaled.logsumexp(-1, keepdim=True)
    # A silent teacher has nothing to say against the student.
    return torch.where(told.is_silent[:, None], of_student.detach(), of_teacher), of_student


def _log_rest(scaled: Tensor, ids: Tensor) -> Tensor:
    """[m, 1]: logsumexp of the scores that are not among ids (which may lie beyond the last one)."""
    width = scaled.shape[1]
    is_listed = torch.zeros(len(scaled), width + 1, dtype=torch.bool, device=scaled.device)
    is_listed.scatter_(1, ids.clamp_max(width), True)
    # Not -inf: were nothing else left, its gradient would be no number.
    rest = scaled.masked_fill(is_listed[:, :width], _NOTHING).logsumexp(-1, keepdim=True)
    least = scaled.detach().logsumexp(-1, keepdim=True) + LEAST
    return torch.where(rest > _NOTHING / 2, rest, least)


def _log_1m_exp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x <= 0; what rounding made larger counts as 0."""
    x = x.clamp_max(0.0)
    return torch.where(x > -0.6931, torch.log(-torch.expm1(x)), torch.log1p(-torch.exp(x)))


def score_gap(student: Tensor, teacher: Full, *, mean: bool) -> Tensor:
    """[m]: half the sum, or mean, of squared differences of raw scores over the entries both have.

    Scores of -inf (entries that a model rules out) have no difference and are left out.
    """
    width = min(student.shape[1], teacher.logits.shape[1])
    ours, theirs = student[:, :width], teacher.logits[:, :width].float()
    is_out = ~(ours.isfinite() & theirs.isfinite())
    squares = (ours.masked_fill(is_out, 0.0) - theirs.masked_fill(is_out, 0.0)).square().sum(-1) / 2
    return squares / (width - is_out.sum(-1)).clamp_min(1) if mean else squares


def mixture(old: Full, new: Full, old_weight: float, width: int) -> Full:
    """Log-probabilities of old_weight·p_old + (1-old_weight)·p_new, both at temperature 1.

    They are over the first `width` entries at most. To be tempered like any teacher's scores: then the
    student whose own probabilities are the mixture has the least loss, whatever the temperature.
    """
    width = min(width, old.logits.shape[1], new.logits.shape[1])
    parts = []
    for scores, weight in ((old, old_weight), (new, 1 - old_weight)):
        chances = scores.logits[:, :width].float().log_softmax(-1)
        parts.append(chances + (math.log(weight) if weight > 0 else -math.inf))
    return Full(torch.logaddexp(*parts))

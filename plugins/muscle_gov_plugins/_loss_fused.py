"""Forward KL and cross-entropy of a chunk of scores with their gradient, in a few passes in place.

Both have the softmax of the student's scores in their gradient, whichever teachers a token follows:
(W·s - Σ w_t·p_t) / T, with W the sum of the weights. So no graph is kept over tensors as wide as the
vocabulary: the softmax is taken once for each temperature, in the place of the scores where that is
safe, and what a teacher says is subtracted. Of teachers that never share a token only the one that is
followed is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from muscle_gov_plugins._loss_terms import LEAST, Full, Top, best_entry, listed

_LEAST_REST = 1e-37
"""A share below this cannot be divided by in float32."""
_NEAR = 0.5
_FRESH = frozenset({"AddmmBackward0", "MmBackward0", "MulBackward0", "DivBackward0", "ToCopyBackward0"})
"""Steps whose result is new memory that their own backward pass does not look at."""


class Room:
    """Memory in which one chunk after the other is worked out: fresh memory costs more than an exp."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def of(self, name: str, like: Tensor, width: int) -> Tensor:
        """[len(like), width] float32, whatever was there under that name before."""
        size = len(like) * width
        if name not in self._kept or self._kept[name].numel() < size:
            self._kept[name] = torch.empty(size, dtype=torch.float32, device=like.device)
        return self._kept[name][:size].view(len(like), width)


class Student:
    """Scores of m tokens, and what they make of the labels, each worked out when it is asked for."""

    def __init__(self, logits: Tensor, labels: Tensor, room: Room) -> None:
        self.room = room
        scores = logits.float()
        step = type(scores.grad_fn).__name__
        self.logits = scores.detach()
        """[m, V] float32."""
        self.is_own = step in _FRESH and scores.is_contiguous()
        """May they be written over?"""
        self.labels = labels

    @cached_property
    def right(self) -> Tensor:
        return best_entry(self.logits) == self.labels

    @cached_property
    def logp(self) -> Tensor:
        own = self.logits.gather(1, self.labels[:, None])
        return (own - self.best)[:, 0] - self.raised.sum(-1).log()

    @cached_property
    def best(self) -> Tensor:
        """[m, 1]: the best scores."""
        return self.logits.amax(-1, keepdim=True)

    @cached_property
    def raised(self) -> Tensor:
        """[m, V]: e to the power of the scores less the best, in memory of its own."""
        room = self.room.of("raised", self.logits, self.logits.shape[1])
        return torch.sub(self.logits, self.best, out=room).exp_()

    @property
    def is_raised(self) -> bool:
        return "raised" in self.__dict__


@dataclass
class Followed:
    """What some teachers say of m tokens, each token following one of them at most."""

    names: tuple[str, ...]
    scores: Full | Top
    """On the student's device; a `Full` is float32 and may be written over."""
    weight: Tensor
    """[m]: what the divergence counts for at each token; 0: the scores need only be finite."""
    width: int
    """Of how many entries, from the first, student and teacher are compared."""


# ------------------------------------------------------------------------------- whom a token follows


def followed(
    scores: Mapping[str, Full | Top],
    weights: Mapping[str, Tensor],
    places: slice,
    width: int,
    room: Room,
) -> list[Followed]:
    """What the teachers say of the tokens at `places`; those of one kind are one, if no token has two.

    `weights` are 0 where a teacher is not followed. `width` is the student's. Waits for the device, to
    see which tokens are to be read.
    """
    kinds: dict[object, list[str]] = {}
    for name in weights:
        kinds.setdefault(_kind(scores[name], width), []).append(name)
    found = []
    for names in kinds.values():
        active = torch.stack([weights[name] > 0 for name in names])
        apart = [names] if int(active.sum(0).max()) < 2 else [[name] for name in names]
        for some in apart:
            of = {name: scores[name] for name in some}
            own = {name: weights[name] for name in some}
            found.append(_joined(of, own, places, width, room))
    return found


def _kind(scores: Full | Top, width: int) -> object:
    if isinstance(scores, Full):
        return "full", min(width, scores.logits.shape[1])
    return "top", scores.ids.shape[1], scores.temperature, scores.width


def _joined(
    scores: Mapping[str, Full | Top],
    weights: Mapping[str, Tensor],
    places: slice,
    width: int,
    room: Room,
) -> Followed:
    weight = torch.stack(list(weights.values())).sum(0)
    lists, whole = {}, {}
    for name, one in scores.items():
        if isinstance(one, Full):
            whole[name] = one
        else:
            lists[name] = one.at(places, weight.device)
    if whole:
        width = min(width, next(iter(whole.values())).logits.shape[1])
        found = room.of(f"scores of {', '.join(whole)}", weight, width)
        return Followed(tuple(scores), _picked(whole, weights, places, found), weight, width)
    first, *others = lists
    top = lists[first]
    for name in others:
        top = _either(weights[name] > 0, lists[name], top)
    return Followed(tuple(scores), top, weight, min(width, top.width or width))


def _either(case: Tensor, there: Top, elsewhere: Top) -> Top:
    ids = torch.where(case[:, None], there.ids, elsewhere.ids)
    logits = torch.where(case[:, None], there.logits, elsewhere.logits)
    lse = torch.where(case, there.lse, elsewhere.lse)
    return Top(ids, logits, lse, there.temperature, there.width)


def _picked(
    scores: Mapping[str, Full], weights: Mapping[str, Tensor], places: slice, found: Tensor
) -> Full:
    """`found` with the scores of each token's own teacher; zeros where it follows none."""
    count, width = found.shape
    followers = 0
    for name, one in scores.items():
        rows = (weights[name] > 0).nonzero()[:, 0]
        followers += len(rows)
        if len(rows) == count:
            found.copy_(one.at(places, found.device).logits[:, :width])
        elif len(rows):
            own = one.pick(rows + places.start, found.device).logits[:, :width]
            found.index_copy_(0, rows, own.float())
    if followers < count:
        found[torch.stack(list(weights.values())).sum(0) == 0] = 0
    return Full(found)


def mixed(
    old: Full, new: Full, old_weight: float, places: slice, weight: Tensor, width: int, room: Room
) -> Followed:
    """The mixture of both, to be followed like any teacher. See `mixture`."""
    width = min(width, old.logits.shape[1], new.logits.shape[1])
    sides = []
    for name, side, share in (("old", old, old_weight), ("new", new, 1 - old_weight)):
        if share > 0:
            own = room.of(f"mixed {name}", weight, width)
            own.copy_(side.at(places, weight.device).logits[:, :width])
            sides.append((_log_softmax_in_place(own), math.log(share)))
    (chances, first), *others = sides
    for more, second in others:
        # Up to a constant, which the softmax that follows takes out.
        chances = torch.logaddexp(chances, more.add_(second - first), out=chances)
    return Followed(("mixture",), Full(chances), weight, width)


# ------------------------------------------------------------------------------ values and gradients


def fused(
    student: Student, gold: Tensor | None, teachers: Iterable[Followed], temperature: float, slope: bool
) -> tuple[dict[str, Tensor], Tensor | None]:
    """Forward KL [m] of each teacher by name, "gold" for the cross-entropy, and the gradient [m, V] of
    their weighted sum for the student's scores, if `slope`.

    gold: [m] the weight of the cross-entropy, None for none. The student's scores and the teachers' may
    be written over. A rest (of a `Top`) that has less than 1e-37 of the student's weight counts as
    exp(-100), without a gradient of its own.
    """
    width = student.logits.shape[1]
    groups: dict[tuple[float, int], list[Followed]] = {} if gold is None else {(1.0, width): []}
    for teacher in teachers:
        groups.setdefault((temperature, teacher.width), []).append(teacher)
    values: dict[str, Tensor] = {}
    gradient: Tensor | None = None
    last = list(groups)[-1]
    for key, some in groups.items():
        group = _Group(student, *key, is_last=key == last)
        values |= group.values(some)
        is_gold = gold is not None and key == (1.0, width)
        if is_gold:
            values["gold"] = group.cross_entropy()
        if slope:
            part = group.gradient(gold if is_gold else None, width)
            gradient = part if gradient is None else gradient.add_(part)
    return values, gradient


class _Group:
    """Teachers compared with one softmax of the student: at one temperature, over one width.

    What is asked of it comes in the order of its methods: each writes over what came before.
    """

    def __init__(self, student: Student, temperature: float, width: int, *, is_last: bool) -> None:
        self._student, self._temperature, self._width = student, temperature, width
        self._chances: list[tuple[Tensor, Tensor]] = []
        self._marks: list[tuple[Tensor, Tensor, Tensor]] = []
        whole, inverse = student.logits, 1 / temperature
        best = student.best if width == whole.shape[1] else whole[:, :width].amax(-1, keepdim=True)
        self._is_kept = temperature == 1 and width == whole.shape[1] and student.is_raised
        """Has the student this softmax already?"""
        if self._is_kept:
            self._raised = student.raised
            return
        is_taken = is_last and student.is_own
        self._whole = (
            whole if is_taken else student.room.of(str((temperature, width)), whole, whole.shape[1])
        )
        self._raised = self._whole[:, :width]
        """Scores over the temperature, less the best of them; e to the power of that; the gradient."""
        torch.add(best * -inverse, whole[:, :width], alpha=inverse, out=self._raised)

    def values(self, teachers: list[Followed]) -> dict[str, Tensor]:
        """The divergences [m] by name."""
        student, labels = self._student, self._student.labels[:, None].clamp_max(self._width - 1)
        scaled = student.logits - student.best if self._is_kept else self._raised
        wide, lists = [], []
        for one in teachers:
            if isinstance(one.scores, Full):
                chance = student.room.of(f"chance of {one.names}", scaled, self._width)
                wide.append((one, *_less(one.scores.logits, scaled, self._temperature, chance)))
            else:
                inside = one.scores.ids.clamp_max(self._width - 1)
                lists.append((one, one.scores, inside, scaled.gather(1, inside)))
        own = scaled.gather(1, labels)[:, 0]
        if not self._is_kept:
            self._raised.exp_()
        self._sum = self._raised.sum(-1)
        log_sum = self._sum.log()
        self._cross_entropy = log_sum - own
        found: dict[str, Tensor] = {}
        if wide:
            self._raised.mul_(1 / self._sum[:, None])
        for one, value, chance, total in wide:
            # As in `divergence`: 0 but for rounding, most of which it takes with it.
            slip = torch.sub(self._raised, chance, out=one.scores.logits).sum(-1)
            found |= dict.fromkeys(one.names, value + _log_ratio(self._sum, total) + slip)
            self._chances.append((one.weight / self._temperature, chance))
        if wide:
            self._sum = torch.ones_like(self._sum)
        for one, top, inside, scores in lists:
            value = self._of_list(one.weight, top, inside, scores - log_sum[:, None])
            found |= dict.fromkeys(one.names, value)
        return found

    def cross_entropy(self) -> Tensor:
        """[m]; in a group of temperature 1 and all entries."""
        return self._cross_entropy

    def _of_list(self, weight: Tensor, top: Top, inside: Tensor, log_share: Tensor) -> Tensor:
        """Value [m] of a teacher of whom the best are known, what it adds to the gradient noted."""
        soft, told = self._raised, listed(top, self._temperature, self._width)
        raised = soft.gather(1, inside) * told.is_shared
        share = raised / self._sum[:, None]
        # All others are summed themselves: what the best leave of 1 would be rounding, if it is little.
        soft.scatter_add_(1, inside, -raised)
        rest = soft.sum(-1) / self._sum
        soft.scatter_add_(1, inside, raised)
        chance = told.best.exp()
        gap = torch.where(chance > 0, told.best - log_share, 0.0)
        value = (chance * gap + (share - chance)).sum(-1)
        ratio = torch.zeros_like(rest)
        if told.rest is not None:
            is_some = rest > _LEAST_REST
            log_rest = torch.where(is_some, rest.log(), LEAST)
            left = told.rest.exp()
            value += left * torch.where(left > 0, told.rest - log_rest, 0.0)
            value += torch.where(is_some, rest, 0.0) - left
            ratio = torch.where(is_some, left / rest, 0.0)
        weight = torch.where(told.is_silent, 0.0, weight / self._temperature)
        change = weight[:, None] * (share * ratio[:, None] - chance)
        self._marks.append((weight * (1 - ratio), inside, change))
        return torch.where(told.is_silent, 0.0, value)

    def gradient(self, gold: Tensor | None, width: int) -> Tensor:
        """[m, width]; in the memory of the softmax."""
        soft = self._raised
        scales = [weight for weight, _ in self._chances] + [scale for scale, _, _ in self._marks]
        if gold is not None:
            scales.append(gold)
        soft.mul_((torch.stack(scales).sum(0) / self._sum)[:, None])
        for weight, chance in self._chances:
            soft.addcmul_(chance, -weight[:, None])
        for _, inside, change in self._marks:
            soft.scatter_add_(1, inside, change)
        if gold is not None:
            soft.scatter_add_(1, self._student.labels[:, None], -gold[:, None])
        if soft.shape[1] == width:
            return soft
        self._whole[:, self._width :] = 0
        return self._whole


def _less(
    logits: Tensor, scaled: Tensor, temperature: float, chance: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Σ p·(u - scaled) [m] for a teacher of these scores, which are written over; p, in `chance`; and
    the sum of exp(u), u being its scores over the temperature less the best of them."""
    best = logits.amax(-1, keepdim=True)
    torch.add(best * (-1 / temperature), logits, alpha=1 / temperature, out=logits)
    torch.exp(logits, out=chance)
    total = chance.sum(-1)
    chance.mul_(1 / total[:, None])
    # Of an entry that the teacher rules out there is 0 times -inf, which is none here.
    return logits.sub_(scaled).mul_(chance).nansum(-1), chance, total


def _log_ratio(above: Tensor, below: Tensor) -> Tensor:
    """log(above / below), to the last digit where both are about the same."""
    gap = (above - below) / below
    return torch.where(gap.abs() < _NEAR, torch.log1p(gap), (above / below).log())


def _log_softmax_in_place(scores: Tensor) -> Tensor:
    return torch.log_softmax(scores, -1, out=scores) if scores.is_cpu else scores.log_softmax(-1)

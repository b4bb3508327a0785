"""The loss of a batch of tokens, and its gradient, without all scores in memory at once.

A vocabulary of 128k entries makes the scores of a batch larger than the model's own activations. So the
output head runs on a few tokens at a time, and the gradient for their hidden states is taken at once and
kept; the backward pass only hands it on. Nothing is computed twice. A head that is trained itself needs
gradients of its own: then each chunk is a checkpoint, and its scores are computed again on the way back.

Forward KL and cross-entropy, which is all that most rows are made of, have a path of their own
(`_loss_fused`), which gives the same numbers for a fraction of the time and memory; whatever else a row
asks for is left to autograd, term by term.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from muscle_gov import InputError
from muscle_gov_plugins._loss_fused import Followed, Room, Student, followed, fused, mixed
from muscle_gov_plugins._loss_row import Judged
from muscle_gov_plugins._loss_table import EVERYWHERE, ROWS, Cases, LossSettings, Row, Term
from muscle_gov_plugins._loss_terms import (
    BatchTokens,
    Full,
    TeacherTokens,
    Top,
    cross_entropy,
    divergence,
    judge,
    mixture,
    score_gap,
)

Head = Callable[[Tensor], Tensor]


def chunk_of(width: int, device_type: str) -> int:
    """For how many tokens at a time scores of `width` entries are best made: 16 to 8192.

    They take about 16 MiB on a CPU, so that they stay in its cache from one step to the next, but are of
    64 tokens at least, for the head itself is read from memory once for each chunk. Elsewhere they take
    256 MiB, for larger pieces keep the device busy. `device_type`: "cpu", "cuda", ...
    """
    room, least = (16, 64) if device_type == "cpu" else (256, 16)
    return min(8192, max(least, room * 2**20 // (4 * width)))


@dataclass(frozen=True)
class _Part:
    """A term that counts, with the numbers that the settings gave it."""

    term: Term
    weight: float
    distance: str


class Loss:
    """One row of the loss table with its settings.

    Raises ValueError for an unknown row, a setting that the row does not use, weights that are all 0.
    """

    def __init__(self, row: str | Row, settings: LossSettings | None = None) -> None:
        if isinstance(row, str) and row not in ROWS:
            raise ValueError(f"row: must be one of {', '.join(ROWS)}, not {row!r}")
        self.row = ROWS[row] if isinstance(row, str) else row
        self.settings = self.row.resolve(settings or LossSettings())
        """All settings of the row, the defaults filled in."""
        self._parts = _parts(self.row, self.settings)
        if not self._parts:
            raise ValueError(f"{self.row.name}: must have a weight above 0, or nothing is learnt")
        self.needs = frozenset[str]().union(*(part.term.needs for part in self._parts))
        """Of which frozen models tokens must be given, of "old" and "new"; a weight of 0 needs none."""
        self.needs_full = any(
            part.term.teacher == "mixture" or part.distance.startswith("logit") for part in self._parts
        )
        """Must a teacher's scores be `Full`?"""

    def __call__(
        self, hidden: Tensor, head: Head, tokens: BatchTokens, total: float, chunk: int
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss of n tokens, and what it is made of.

        hidden: [n, H], the student's states before its output head, on the device of `tokens`.
        head: from [m, H] to scores [m, V]; the tokens in it must not see each other. It is run under
            whatever autocast is in force, and its result may be written over.
        total: what sums over tokens are divided by, above 0: n, or the number of tokens in all calls
            whose gradients are added up. A term of its own mean counts n/total of it.
        chunk: of how many tokens scores are in memory at a time, at least 1.

        Returns a float32 scalar, with a gradient for hidden (and for the head, where it is trained), and
        means over the n tokens of this call: of each term, before its weight, and over its own tokens if
        it is a mean of these; the share of tokens that follow each teacher ("aligned to old", ...); and
        "loss", which is the scalar for total = n. Without tokens all are 0. The device is waited for
        once, for these means, and by the fused path in each chunk, to see whom its tokens follow.

        Raises InputError where a teacher's scores do not fit the row, ValueError where others do not.
        """
        self._check(hidden, tokens, total, chunk)
        count = len(hidden)
        if not count:
            # In the graph all the same: some ways of training wait for a gradient from every part.
            return (hidden.sum() + head(hidden).sum()).float() * 0, dict.fromkeys(self._names(), 0.0)
        batch = _Batch(self._parts, self.settings, tokens)
        batch.decide_whole(hidden, head, chunk)
        value, sums = _summed(batch, hidden, head, chunk, 1 / total)
        return value, self._means(batch, torch.cat([sums, value.detach()[None] * total]), count)

    def _names(self) -> list[str]:
        teachers = [part.term.teacher for part in self._parts if part.term.teacher != "gold"]
        aligned = [f"aligned to {teacher}" for teacher in dict.fromkeys(teachers)]
        return [*(part.term.name for part in self._parts), *aligned, "loss"]

    def _means(self, batch: _Batch, sums: Tensor, count: int) -> dict[str, float]:
        """The sums (of terms, of teachers, the loss) as means; nothing else waits for the device."""
        own = [batch.share(part) if part.term.own_mean else sums.new_ones(()) for part in self._parts]
        rest = sums.new_ones(len(sums) - len(own))
        means = sums * torch.cat([torch.stack(own), rest]) / count
        return dict(zip(self._names(), means.tolist(), strict=True))

    def _check(self, hidden: Tensor, tokens: BatchTokens, total: float, chunk: int) -> None:
        if chunk < 1:
            raise ValueError("chunk: must be 1 or more")
        if len(hidden) and not total > 0:
            raise ValueError("total: must be above 0")
        for name in ("labels", "rows", "is_answer"):
            if getattr(tokens, name).shape != hidden.shape[:1]:
                raise ValueError(f"{name}: must be one for each of the {len(hidden)} hidden states")
        for name in sorted(self.needs):
            teacher = getattr(tokens, name)
            if teacher is None:
                raise ValueError(f"{name}: must be given, the loss {self.row.name} looks at it")
            for part in self._parts:
                if part.term.teacher in (name, "mixture"):
                    _check_scores(name, teacher.scores, part, self.settings, len(hidden))


def _parts(row: Row, settings: LossSettings) -> list[_Part]:
    """The terms with a weight, mixed with cross-entropy as in equations 4 and 5 if the row has a λ."""
    blend = 1.0 if settings.compat_weight is None else settings.compat_weight
    terms = [(term, blend * term.weight(settings)) for term in row.terms]
    if settings.compat_weight is not None:
        terms.append((Term("cross-entropy", "gold", EVERYWHERE, lambda _: 1.0), 1 - blend))
    parts = []
    for term, weight in terms:
        if weight < 0:
            raise ValueError(f"{term.name}: must have a weight of 0 or more, not {weight:g}")
        distance = "cross-entropy" if term.teacher == "gold" else term.distance or settings.distance
        if distance is None:
            raise ValueError(f"distance: must be set, in the defaults of {row.name} at least")
        if weight:
            parts.append(_Part(term, weight, distance))
    return parts


def _is_fused(parts: list[_Part], settings: LossSettings) -> bool:
    """Is all of it forward KL or cross-entropy?"""
    kinds = {part.distance for part in parts}
    return kinds <= {"kl", "cross-entropy"} and ("kl" not in kinds or settings.direction == "forward")


def _check_scores(
    name: str, scores: Full | Top | None, part: _Part, how: LossSettings, count: int
) -> None:
    what = f"{name}: scores"
    if scores is None:
        raise InputError(f"{what} are missing; the term {part.term.name!r} needs them")
    if len(scores.logits) != count:
        raise InputError(f"{what} are of {len(scores.logits)} tokens, not of {count}; make them again")
    if isinstance(scores, Full):
        return
    if part.distance != "kl":
        raise InputError(
            f"{what} must be full, for {part.distance} compares all of them; keep all of them"
        )
    if part.term.teacher == "mixture":
        raise InputError(
            f"{what} must be full: of two lists of the best no mixture can be made; keep all"
        )
    if scores.temperature != how.temperature:
        raise InputError(
            f"{what} were kept for temperature {scores.temperature:g}, the loss has "
            f"{how.temperature:g}; make them again, or keep all of them"
        )


class _Batch:
    """The tokens of a call: which case each is in, and what a chunk of them costs."""

    def __init__(self, parts: list[_Part], settings: LossSettings, tokens: BatchTokens) -> None:
        self._parts = parts
        self._settings = settings
        self._tokens = tokens
        self._cases: dict[str, Tensor] = {}
        self._asks = frozenset[str]().union(*(part.term.when.asks for part in parts))
        self._students: Judged | None = None
        self._room = Room()
        self.is_fused = _is_fused(parts, settings)

    def decide_whole(self, hidden: Tensor, head: Head, chunk: int) -> None:
        """Decides the cases that all tokens must be known for, running the head if they ask for that."""
        whole = [part for part in self._parts if part.term.is_whole]
        if any("student" in part.term.when.asks for part in whole):
            self._students = _judged(hidden, head, self._tokens.labels, chunk)
        cases = self._of(slice(None), self._students)
        for part in whole:
            self._cases[part.term.name] = part.term.when.test(cases, self._settings)

    def share(self, part: _Part) -> Tensor:
        """n over the number of tokens of a part's own case; 0-dimensional. 0 where there are none."""
        case = self._cases[part.term.name]
        own = case.sum()
        return torch.where(own > 0, len(case) / own.clamp_min(1), 0.0)

    def cost(self, logits: Tensor, places: slice) -> tuple[Tensor, Tensor]:
        """The weighted sum over a chunk, and the sums for the record: of each term, of each teacher."""
        student = Student(logits, self._tokens.labels[places], self._room)
        cases = self._decided(student, places)
        known: dict[tuple[str, str], Tensor] = {}
        for part in self._parts:
            of = part.term.teacher, part.distance
            if of not in known:
                known[of] = self._distance(part, logits.float(), places)
        return self._added(known, cases)

    def cost_and_gradient(
        self, logits: Tensor, places: slice, slope: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The same, and the gradient of the sum for the scores if `slope`, where `is_fused` is true.

        The scores may be written over.
        """
        student = Student(logits, self._tokens.labels[places], self._room)
        cases = self._decided(student, places)
        how, width = self._settings, logits.shape[1]
        weights: dict[str, Tensor] = {}
        for part, case in zip(self._parts, cases, strict=True):
            own = torch.where(case, self._scale(part), 0.0)
            before = weights.get(part.term.teacher)
            weights[part.term.teacher] = own if before is None else before + own
        gold = weights.pop("gold", None)
        times = 1.0
        if weights:
            temperature = how.number("temperature")
            times = temperature**2 if how.scale_by_t2 else 1.0
            weights = {name: weight * times for name, weight in weights.items()}
        else:
            temperature = 1.0
        teachers = self._followed(weights, places, width)
        values, gradient = fused(student, gold, teachers, temperature, slope)
        known = {
            (name, "cross-entropy" if name == "gold" else "kl"): (
                value if name == "gold" else value * times
            )
            for name, value in values.items()
        }
        total, sums = self._added(known, cases)
        return total, sums, gradient

    def _followed(self, weights: dict[str, Tensor], places: slice, width: int) -> list[Followed]:
        single = {name: weight for name, weight in weights.items() if name != "mixture"}
        found = followed(
            {name: self._scores(name) for name in single}, single, places, width, self._room
        )
        if "mixture" in weights:
            old, new = (self._whole_scores(name) for name in ("old", "new"))
            share = self._settings.number("old_weight")
            found.append(mixed(old, new, share, places, weights["mixture"], width, self._room))
        return found

    def _decided(self, student: Student, places: slice) -> list[Tensor]:
        """Of each part its case [m]."""
        judged: Judged | None = None
        if "student" in self._asks:
            judged = self._students_at(places) if self._students is not None else student
        cases = self._of(places, judged)
        return [self._case(part, cases, places) for part in self._parts]

    def _scale(self, part: _Part) -> Tensor | float:
        return part.weight * self.share(part) if part.term.own_mean else part.weight

    def _added(self, known: dict[tuple[str, str], Tensor], cases: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The cost and the sums for the record, from the distances [m] by teacher and kind."""
        costs, sums = [], []
        followers: dict[str, Tensor] = {}
        for part, case in zip(self._parts, cases, strict=True):
            teacher = part.term.teacher
            own = torch.where(case, known[teacher, part.distance], 0.0).sum()
            costs.append(self._scale(part) * own)
            sums.append(own.detach())
            if teacher != "gold":
                followers[teacher] = case | followers.get(teacher, case)
        sums += [case.sum().float() for case in followers.values()]
        return torch.stack(costs).sum(), torch.stack(sums)

    def _students_at(self, places: slice) -> Judged:
        assert self._students is not None  # noqa: S101 - decided before the first chunk
        return TeacherTokens(self._students.right[places], self._students.logp[places], None)

    def _case(self, part: _Part, cases: Cases, places: slice) -> Tensor:
        if part.term.name in self._cases:
            return self._cases[part.term.name][places]
        return part.term.when.test(cases, self._settings)

    def _of(self, places: slice, student: Judged | None) -> Cases:
        tokens = self._tokens
        models: dict[str, Judged] = {} if student is None else {"student": student}
        for name in self._asks - {"student"}:
            teacher = getattr(tokens, name)
            models[name] = TeacherTokens(teacher.right[places], teacher.logp[places], None)
        return Cases(tokens.labels[places], tokens.rows[places], tokens.is_answer[places], models)

    def _distance(self, part: _Part, logits: Tensor, places: slice) -> Tensor:
        how = self._settings
        if part.distance == "cross-entropy":
            return cross_entropy(logits, self._tokens.labels[places])
        if part.term.teacher == "mixture":
            old, new = (self._whole_scores(name).at(places, logits.device) for name in ("old", "new"))
            teacher: Full | Top = mixture(old, new, how.number("old_weight"), logits.shape[1])
        elif part.distance != "kl":
            scores = self._whole_scores(part.term.teacher).at(places, logits.device)
            return score_gap(logits, scores, mean=part.distance == "logit-mse")
        else:
            teacher = self._scores(part.term.teacher).at(places, logits.device)
        temperature = how.number("temperature")
        far = divergence(logits, teacher, temperature, reverse=how.direction == "reverse")
        return far * temperature**2 if how.scale_by_t2 else far

    def _scores(self, name: str) -> Full | Top:
        scores: Full | Top = getattr(self._tokens, name).scores
        return scores

    def _whole_scores(self, name: str) -> Full:
        scores = self._scores(name)
        assert isinstance(scores, Full)  # noqa: S101 - looked at when the call began
        return scores


def _chunks(count: int, chunk: int) -> Iterator[slice]:
    return (slice(start, min(start + chunk, count)) for start in range(0, count, chunk))


@torch.no_grad()
def _judged(hidden: Tensor, head: Head, labels: Tensor, chunk: int) -> Judged:
    """What the student makes of all labels: a pass through the head for the cases alone."""
    parts = [judge(head(hidden[at]).float(), labels[at]) for at in _chunks(len(hidden), chunk)]
    right = torch.cat([part.right for part in parts])
    return TeacherTokens(right, torch.cat([part.logp for part in parts]), None)


def _summed(
    batch: _Batch, hidden: Tensor, head: Head, chunk: int, scale: float
) -> tuple[Tensor, Tensor]:
    """The cost of all chunks times scale, with its gradient, and the sums for the record."""
    has_gradient = torch.is_grad_enabled()
    trained = has_gradient and head(hidden[:1].detach()).requires_grad
    gradient = (
        torch.empty_like(hidden) if has_gradient and hidden.requires_grad and not trained else None
    )
    costs, records = [], []
    for at in _chunks(len(hidden), chunk):
        if trained:
            cost, record = checkpoint(_run, batch, head, hidden[at], at, use_reentrant=False)
        elif gradient is None:
            with torch.no_grad():
                cost, record, _ = _run_known(batch, head, hidden[at], at)
        else:
            states = hidden[at].detach().requires_grad_()
            cost, record, slope = _run_known(batch, head, states, at)
            assert slope is not None  # noqa: S101 - the states want one
            gradient[at] = slope
        costs.append(cost)
        records.append(record)
    value = torch.stack(costs).sum() * scale
    if gradient is not None:
        value = _Known.apply(hidden, value, gradient, scale)  # type: ignore[no-untyped-call]
    return value, torch.stack(records).sum(0)


def _run(batch: _Batch, head: Head, states: Tensor, places: slice) -> tuple[Tensor, Tensor]:
    return batch.cost(head(states), places)


def _run_known(
    batch: _Batch, head: Head, states: Tensor, places: slice
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Cost, record, and the gradient for the states if they want one."""
    logits = head(states)
    if not batch.is_fused:
        cost, record = batch.cost(logits, places)
        slope = torch.autograd.grad(cost, states)[0] if states.requires_grad else None
        return cost.detach(), record, slope
    scores = logits.float()
    del logits
    with torch.no_grad():
        cost, record, wide = batch.cost_and_gradient(scores, places, states.requires_grad)
    if wide is None:
        return cost, record, None
    return cost, record, torch.autograd.grad(scores, states, wide)[0]


class _Known(torch.autograd.Function):
    """A value whose gradient is known already, up to a scale.

    The scale is left to the backward pass, for in half precision the gradient of one token among many
    thousands would be 0 before a loss scaler could save it.
    """

    @staticmethod
    def forward(ctx: Any, _hidden: Tensor, value: Tensor, gradient: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(gradient)
        ctx.scale = scale
        return value.clone()

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * (incoming * ctx.scale), None, None, None

"""Which comparisons make up the history of a model: lines of updates, each building on the one before.

A model is its fingerprint. Two fingerprints of one name are taken for one model only where a line would
else break there and nothing speaks against it, and the page says so. A line is the longest chain of
updates in which the new model of one is the old model of the next; what belongs to none is listed
beside. All comparisons of the same two models are one update, whose standing verdict is the newest that
rules gave: a later look without rules takes nothing back, and no earlier verdict is forgotten. Controls
are no updates. A mended model is an update of its own only where later updates build on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from muscle_gov.data import Comparison, Status
from muscle_gov.report.history_paths import Pair, forward, paths_of
from muscle_gov.report.words import listed
from muscle_gov.store.history import AnswerPaths, GivenVerdict, PastComparison, StoredModel
from muscle_gov.text import one_line


@dataclass(frozen=True)
class Try:
    """One verdict on an update."""

    comparison: PastComparison
    verdict: GivenVerdict | None
    """None for a comparison that was never judged at all."""

    @property
    def status(self) -> Status:
        return self.verdict.status if self.verdict else Status.NOT_JUDGED

    @property
    def when(self) -> str:
        return self.verdict.given if self.verdict else self.comparison.created


@dataclass(frozen=True)
class Step:
    """One update: two models, and all that was ever said of them."""

    standing: Try
    others: tuple[Try, ...]
    """All other verdicts on these two models, the oldest first."""
    n_comparisons: int
    mended: tuple[Try, ...] = ()
    """The newest verdict on each mended model that was judged beside this update."""
    controls: tuple[PastComparison, ...] = ()
    came_as: Try | None = None
    """The update as it came, where the line goes on with a mended model instead."""
    namesakes: tuple[Try, ...] = ()
    """Comparisons of other models that have these two names."""
    why_apart: str = ""
    """Why it can be part of no line; empty if it can."""

    @property
    def comparison(self) -> PastComparison:
        return self.standing.comparison

    @property
    def all_comparisons(self) -> tuple[str, ...]:
        found = [self.comparison.id, *(one.comparison.id for one in self.others)]
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class Line:
    """Updates that build on each other, the first one first."""

    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()
    """Where models were linked by their names."""

    @property
    def models(self) -> tuple[StoredModel, ...]:
        first = self.steps[0].comparison.old
        return (first, *(step.comparison.new for step in self.steps))


@dataclass(frozen=True)
class Lines:
    """All lines of a store, the longest first, and the comparisons that belong to none."""

    lines: tuple[Line, ...]
    apart: tuple[Step, ...]
    left_out: int = 0
    """Comparisons that were not asked for."""


_Nodes = Mapping[int, int]
"""Model → the model that stands for all that are taken for one."""


def lines_of(
    comparisons: Sequence[PastComparison], model: str | None = None, through: Sequence[str] = ()
) -> Lines:
    """The lines; `model` keeps those with such a model (name or pattern), `through` makes the one that
    goes through all these models. Raises UsageError if there is no such line."""
    real = [c for c in comparisons if c.role != "control"]
    nodes, linked = _same_models(real)
    groups: dict[Pair, list[PastComparison]] = {}
    for one in real:
        groups.setdefault((nodes[one.old.id], nodes[one.new.id]), []).append(one)
    steps = {pair: _step(found, comparisons) for pair, found in groups.items()}
    edges, odd = forward(groups)
    names = {nodes[m.id]: m.name for c in real for m in (c.old, c.new)}
    paths, rest = paths_of(edges, names, through)
    apart = [steps[pair] for pair in rest] + [replace(steps[p], why_apart=why) for p, why in odd.items()]
    lines, taken = [], set()
    for path in paths:
        line, used = _line(path, steps, groups, linked)
        lines.append(line)
        taken |= used
    apart = [s for s in apart if s.comparison.id not in taken and not _is_beside(s, steps)]
    lines, apart = _with_namesakes(lines, apart)
    lines.sort(key=lambda line: (len(line.steps), line.steps[-1].standing.when), reverse=True)
    found = Lines(tuple(lines), tuple(sorted(apart, key=lambda s: s.standing.when, reverse=True)))
    return _chosen(found, model, bool(through))


def _chosen(found: Lines, model: str | None, only_first: bool) -> Lines:
    kept = list(found.lines[:1] if only_first else found.lines)
    apart = [] if only_first else list(found.apart)
    if model is not None:
        kept = [line for line in kept if any(fnmatchcase(m.name, model) for m in line.models)]
        apart = [s for s in apart if _has_model(s, model)]
    n = sum(len(line.steps) for line in found.lines) + len(found.apart)
    return Lines(tuple(kept), tuple(apart), n - sum(len(line.steps) for line in kept) - len(apart))


def _has_model(step: Step, pattern: str) -> bool:
    return any(fnmatchcase(m.name, pattern) for m in (step.comparison.old, step.comparison.new))


# ----------------------------------------------------------------------------------- one and the same


def _same_models(comparisons: Iterable[PastComparison]) -> tuple[_Nodes, dict[int, str]]:
    """(model → who stands for it, the latter → what is told of the link).

    The loose end of one chain and the loose start of another are linked by their name if each is the
    only one of that name, and if no comparison has the name on both sides. What mends an update is
    named after its method, and is never linked so.
    """
    news = {c.new.id: c.new for c in comparisons if c.role != "mitigation"}
    olds = {c.old.id: c.old for c in comparisons}
    all_news = {c.new.id for c in comparisons}
    both_sides = {c.old.name for c in comparisons if c.old.name == c.new.name}
    ends = _by_name(m for m in news.values() if m.id not in olds)
    starts = _by_name(m for m in olds.values() if m.id not in all_news)
    nodes = {m.id: m.id for c in comparisons for m in (c.old, c.new)}
    linked = {}
    for name in ends:
        if name in both_sides or len(ends[name]) != 1 or len(starts.get(name, [])) != 1:
            continue
        (end,), (start,) = ends[name], starts[name]
        nodes[start.id] = end.id
        linked[end.id] = _link_note(end, start)
    return nodes, linked


def _by_name(models: Iterable[StoredModel]) -> dict[str, list[StoredModel]]:
    found: dict[str, list[StoredModel]] = {}
    for model in models:
        found.setdefault(model.name, []).append(model)
    return found


def _link_note(end: StoredModel, start: StoredModel) -> str:
    keys = sorted({*end.details, *start.details})
    differ = [k for k in keys if end.details.get(k) != start.details.get(k)]
    about = f", which differ in {listed(differ)}" if differ else ""
    return (
        f"{one_line(end.name, 60)} is linked by its name alone: it has two fingerprints, one as the new "
        f"model of an update and one as the old model of the next{about}."
    )


# --------------------------------------------------------------------------------------------- steps


def _step(group: Sequence[PastComparison], everything: Sequence[PastComparison]) -> Step:
    tries = [Try(c, v) for c in group for v in (c.verdicts or (None,))]
    # stable, so that of two verdicts in one second the later made one is the newer
    tries.sort(key=lambda one: one.when)
    judged = [one for one in tries if one.status is not Status.NOT_JUDGED]
    standing = (judged or tries)[-1]
    others = tuple(one for one in tries if one is not standing)
    ids = {c.id for c in group}
    beside = [c for c in everything if c.mending in ids and c.id not in ids]
    mended: dict[int, Try] = {}
    for one in beside:
        if one.role == "mitigation":
            mended[one.new.id] = Try(one, one.verdicts[-1] if one.verdicts else None)
    controls = tuple(c for c in beside if c.role == "control")
    return Step(standing, others, len(group), tuple(mended.values()), controls)


def _is_beside(step: Step, steps: Mapping[Pair, Step]) -> bool:
    """Is it of a mended model that is listed beside its update?"""
    return step.comparison.role == "mitigation" and any(
        one.comparison.id in step.all_comparisons for other in steps.values() for one in other.mended
    )


def _line(
    path: Sequence[Pair],
    steps: Mapping[Pair, Step],
    groups: Mapping[Pair, Sequence[PastComparison]],
    linked: Mapping[int, str],
) -> tuple[Line, set[str]]:
    """The line, and the comparisons that it stands for beside its own steps."""
    found, taken = [], set()
    for pair in path:
        step = steps[pair]
        if step.comparison.role == "mitigation":
            id_ = step.comparison.mending
            first = next(steps[p] for p, group in groups.items() if any(c.id == id_ for c in group))
            taken.add(first.comparison.id)
            others = tuple(m for m in first.mended if m.comparison.id not in step.all_comparisons)
            step = replace(step, came_as=first.standing, mended=others, controls=first.controls)
        found.append(step)
    notes = tuple(linked[new] for _, new in path[:-1] if new in linked)
    return Line(tuple(found), notes), taken


def _with_namesakes(lines: Sequence[Line], apart: Sequence[Step]) -> tuple[list[Line], list[Step]]:
    """Comparisons under the names of an update, but of other models, are told beside it: what was tried
    again with another setting is a second try all the same."""
    places = {
        (s.comparison.old.name, s.comparison.new.name): (i, j)
        for i, line in enumerate(lines)
        for j, s in enumerate(line.steps)
    }
    more: dict[tuple[int, int], list[Try]] = {}
    rest = []
    for step in apart:
        place = places.get((step.comparison.old.name, step.comparison.new.name))
        if place is None or step.why_apart or step.mended:
            rest.append(step)
        else:
            more.setdefault(place, []).extend([*step.others, step.standing])
    found = []
    for i, line in enumerate(lines):
        grown = [
            replace(s, namesakes=tuple(sorted(more.get((i, j), ()), key=lambda one: one.when)))
            for j, s in enumerate(line.steps)
        ]
        found.append(replace(line, steps=tuple(grown)))
    return found, rest


# ------------------------------------------------------------------------------------ what is shown


@dataclass(frozen=True)
class LineHistory:
    """A line with what was measured over the whole of it."""

    line: Line
    paths: AnswerPaths
    drift: Comparison | None
    """The first model against the last one, from their stored answers; None for a single update, and
    where it can't be measured."""
    why_no_drift: str = ""


@dataclass(frozen=True)
class History:
    """Everything that the page shows."""

    lines: tuple[LineHistory, ...]
    apart: tuple[Step, ...]
    left_out: int
    """Updates in the store that were not asked for."""
    store: str

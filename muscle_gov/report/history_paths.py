"""Paths through the updates of a store: which can follow each other, and the longest of them.

Models are numbers here and an update is a pair of them. Updates are taken in the order in which they
were first compared; one that would close a circle runs backwards and is part of no path, so what is left
has an order in which the longest path is found at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from muscle_gov.errors import UsageError
from muscle_gov.report.words import listed
from muscle_gov.store.history import PastComparison
from muscle_gov.text import one_line

Pair = tuple[int, int]
"""(old model, new model)"""


@dataclass(frozen=True)
class Edge:
    """An update that can be part of a line; `is_update` is false for a mended model, `when` is the
    moment of its first comparison."""

    pair: Pair
    is_update: bool
    when: str


@dataclass(frozen=True)
class _Way:
    """The best way to a model so far."""

    rank: tuple[int, int, str]
    """Updates, those of them that are no mended model, when the last was compared."""
    edges: tuple[Edge, ...]


def forward(
    groups: Mapping[Pair, Sequence[PastComparison]],
) -> tuple[list[Edge], dict[Pair, str]]:
    """Updates that can be part of a line, and those that can't, with the reason."""
    olds = {pair[0] for pair in groups}
    following: dict[int, set[int]] = {}
    edges, odd = [], {}
    for pair, found in groups.items():  # the oldest first
        old, new = pair
        is_update = any(c.role != "mitigation" for c in found)
        if old == new:
            odd[pair] = "one and the same model on both sides"
        elif _reaches(following, new, old):
            odd[pair] = "runs backwards: its old model came after its new one before"
        else:
            following.setdefault(old, set()).add(new)
            if is_update or new in olds:
                edges.append(Edge(pair, is_update, found[0].created))
    return edges, odd


def _reaches(following: Mapping[int, set[int]], start: int, goal: int) -> bool:
    seen, todo = {start}, [start]
    while todo:
        one = todo.pop()
        if one == goal:
            return True
        more = following.get(one, set()) - seen
        seen |= more
        todo += more
    return False


def paths_of(
    edges: Sequence[Edge], names: Mapping[int, str], through: Sequence[str]
) -> tuple[list[list[Pair]], list[Pair]]:
    """Paths, and the pairs that belong to none.

    Of updates that hang together the longest path is always one, further ones only if they have two
    updates; `through` asks for the longest path that goes through all these models (names or patterns),
    and for no other. Raises UsageError if there is no such path.
    """
    if through:
        path = _longest(edges, names, through)
        if path is None:
            asked = listed([repr(n) for n in through], 8)
            known = listed(sorted({repr(one_line(n, 60)) for n in names.values()}), 12)
            raise UsageError(f"--line: no line of updates goes through {asked}; there are {known}")
        return [path], [e.pair for e in edges if e.pair not in path]
    paths, rest = [], []
    for part in _components(edges):
        is_first = True
        while part:
            path = _longest(part, names, ())
            if path is None or (len(path) < 2 and not is_first):
                break
            is_first = False
            paths.append(path)
            part = [e for e in part if e.pair not in path]
        rest += [e.pair for e in part]
    return paths, rest


def _components(edges: Sequence[Edge]) -> list[list[Edge]]:
    """Edges that hang together."""
    stands_for: dict[int, int] = {}

    def root(one: int) -> int:
        while stands_for.setdefault(one, one) != one:
            stands_for[one] = one = stands_for[stands_for[one]]
        return one

    for edge in edges:
        stands_for[root(edge.pair[0])] = root(edge.pair[1])
    found: dict[int, list[Edge]] = {}
    for edge in edges:
        found.setdefault(root(edge.pair[0]), []).append(edge)
    return list(found.values())


def _longest(
    edges: Sequence[Edge], names: Mapping[int, str], through: Sequence[str]
) -> list[Pair] | None:
    """The longest path that ends in an update and goes through these models; None without one."""

    def met(node: int) -> frozenset[str]:
        return frozenset(t for t in through if names[node] == t or fnmatchcase(names[node], t))

    best: dict[int, dict[frozenset[str], _Way]] = {}
    ends = []
    for edge in _in_order(edges):
        old, new = edge.pair
        start = {met(old): _Way((0, 0, ""), ())}
        for seen, way in {**start, **best.get(old, {})}.items():
            rank = (way.rank[0] + 1, way.rank[1] + edge.is_update, edge.when)
            longer = _Way(rank, (*way.edges, edge))
            both = seen | met(new)
            known = best.setdefault(new, {})
            if both not in known or known[both].rank < rank:
                known[both] = longer
            if edge.is_update and both == frozenset(through):
                ends.append(longer)
    if not ends:
        return None
    return [edge.pair for edge in max(ends, key=lambda way: way.rank).edges]


def _in_order(edges: Sequence[Edge]) -> list[Edge]:
    """Each behind all that lead to where it starts."""
    leading: dict[int, list[Edge]] = {}
    waiting: dict[int, int] = {}
    for edge in edges:
        leading.setdefault(edge.pair[0], []).append(edge)
        waiting[edge.pair[1]] = waiting.get(edge.pair[1], 0) + 1
    todo = sorted({e.pair[0] for e in edges} - set(waiting))
    found = []
    while todo:
        for edge in leading.get(todo.pop(), []):
            found.append(edge)
            waiting[edge.pair[1]] -= 1
            if not waiting[edge.pair[1]]:
                todo.append(edge.pair[1])
    return found

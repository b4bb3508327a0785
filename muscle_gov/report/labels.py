"""Where the words of a picture go: beside what they name, and never over each other.

A label is tried close to its mark first and then on wider rings around it, with a line back to the
mark; lines of the drawing may run behind a label, marks and other labels may not. The widths of texts
are estimated on the wide side, since no font is known where a page is made. Equal input gives equal
places.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_RING = 11.0
_LINE_FROM = 7.0
"""A label farther than this from its mark gets a line to it."""
_FARTHEST = 64.0
"""A name that would stand farther than this from its mark is no help: a number stands closer."""
_PASSES = 2
_SIDES = (
    *((1.0, -1.0), (-1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)),  # the corners are free of its own cross
    *((1.0, 0.0), (-1.0, 0.0), (0.0, -1.0), (0.0, 1.0)),
    *((0.5, -1.0), (-0.5, -1.0), (0.5, 1.0), (-0.5, 1.0)),
)
"""Where a label may stand: to the right (1), the left (-1) or between, and above (-1) or below."""


@dataclass(frozen=True)
class Box:
    """A rectangle by its edges; a line along an axis is a box without width or height."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def holds(self, other: Box) -> bool:
        return (
            self.left <= other.left
            and self.top <= other.top
            and other.right <= self.right
            and other.bottom <= self.bottom
        )

    def grown(self, by: float) -> Box:
        return Box(self.left - by, self.top - by, self.right + by, self.bottom + by)

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """The point of the box that lies nearest to a point."""
        return min(max(x, self.left), self.right), min(max(y, self.top), self.bottom)


@dataclass(frozen=True)
class Wish:
    """A label to be placed: the middle and the half size of its mark, and its own size."""

    x: float
    y: float
    reach: float
    width: float
    height: float


@dataclass(frozen=True)
class Ground:
    """What is there already: the edge of the picture, marks to keep clear, lines better kept clear."""

    bounds: Box
    marks: tuple[Box, ...]
    lines: tuple[Box, ...]


def width_of(text: str, size: float) -> float:
    """About how wide a sans-serif font of `size` sets the text: rather too wide than too narrow."""
    return size * sum(map(_width, text))


def _width(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    if unicodedata.combining(character):
        return 0.0
    if character in "iljtfrI.,:;'|!()[] -\u202f":
        return 0.42
    return 0.8 if character.isupper() or character in "mwMW@%" or ord(character) > 0x24F else 0.6


@dataclass(frozen=True)
class _Others:
    """Labels that have their place already, and the lines from them to their marks."""

    boxes: tuple[Box, ...]
    lines: tuple[tuple[float, float, float, float], ...]


def place(wishes: Sequence[Wish], ground: Ground, may_cross: bool = False) -> list[Box | None]:
    """A box for each label; None for one that no free place is found for.

    With `may_cross` the line to a label may pass behind others, where it can't reach its mark else.
    """
    placed: list[Box | None] = [None] * len(wishes)
    for _ in range(_PASSES):
        # the second time round a label knows where those after it went
        for i, wish in enumerate(wishes):
            at = [(wishes[j], box) for j, box in enumerate(placed) if box is not None and j != i]
            lines = tuple(line for other, box in at if (line := line_to(other, box)) is not None)
            others = _Others(tuple(box for _, box in at), lines)
            placed[i] = _best(wish, ground, others, True)
            if placed[i] is None and may_cross:
                placed[i] = _best(wish, ground, others, False)
    return placed


def _best(wish: Wish, ground: Ground, others: _Others, is_strict: bool) -> Box | None:
    best, least = None, math.inf
    for liking, box in _tries(wish, ground.bounds):
        if liking >= least:
            break  # those that follow are farther off still
        if not ground.bounds.holds(box) or any(box.meets(other.grown(1.5)) for other in others.boxes):
            continue
        if any(box.meets(mark) for mark in ground.marks):
            continue
        if is_strict and not _is_clear(wish, box, ground, others):
            continue
        cost = liking + 3.0 * sum(box.meets(line.grown(0.5)) for line in ground.lines)
        if cost < least:
            best, least = box, cost
    return best


def _tries(wish: Wish, bounds: Box) -> Iterator[tuple[float, Box]]:
    """(cost without what is there, box), the cheapest first."""
    rings = int(math.hypot(bounds.right - bounds.left, bounds.bottom - bounds.top) / _RING)
    half, tall = wish.width / 2, wish.height / 2
    for ring in range(rings + 1):
        out = ring * _RING
        for rank, (along, down) in enumerate(_SIDES):
            # a label at a corner stands over or under its mark, and so may begin close to its middle
            aside = 4.0 if abs(along) == abs(down) else wish.reach + 3
            middle = wish.x + along * (aside + out + half)
            centre = wish.y + down * (wish.reach + 1 + out + tall)
            box = Box(middle - half, centre - tall, middle + half, centre + tall)
            yield 6.0 * ring + 0.4 * rank, box


def line_to(wish: Wish, box: Box) -> tuple[float, float, float, float] | None:
    """The line from the edge of the mark to the label: two points, or None if it stands close."""
    x, y = box.nearest(wish.x, wish.y)
    far = math.hypot(x - wish.x, y - wish.y)
    if far - wish.reach <= _LINE_FROM:
        return None
    share = wish.reach / far
    return wish.x + (x - wish.x) * share, wish.y + (y - wish.y) * share, x, y


def is_near(wish: Wish, box: Box | None) -> bool:
    """Whether the label has a place, and one that nobody has to search for."""
    line = None if box is None else line_to(wish, box)
    return box is not None and (line is None or math.dist(line[:2], line[2:]) <= _FARTHEST)


def _is_clear(wish: Wish, box: Box, ground: Ground, others: _Others) -> bool:
    """Whether no line to a label crosses another label, nor the line to this one another mark."""
    if any(crosses(other, box) for other in others.lines):
        return False
    line = line_to(wish, box)
    if line is None:
        return True
    own = Box(wish.x, wish.y, wish.x, wish.y)
    marks = [mark for mark in ground.marks if not mark.holds(own)]
    return not any(crosses(line, other) for other in (*others.boxes, *marks))


def crosses(line: tuple[float, float, float, float], box: Box) -> bool:
    """Whether any part of the line lies in the box (Liang and Barsky 1984)."""
    x, y, to_x, to_y = line
    enters, leaves = 0.0, 1.0
    for step, low, high in (
        (to_x - x, box.left - x, box.right - x),
        (to_y - y, box.top - y, box.bottom - y),
    ):
        if step == 0:
            if low > 0 or high < 0:
                return False
            continue
        first, last = sorted((low / step, high / step))
        enters, leaves = max(enters, first), min(leaves, last)
    return enters < leaves

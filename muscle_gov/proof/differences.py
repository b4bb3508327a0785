"""Where two documents that should be equal are not, in words that lead to the place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from muscle_gov.text import one_line

MOST = 8
"""Differences that are named one by one."""
_NAMES = ("name", "path", "format", "kind", "code", "metric")


def few(problems: Iterable[str], most: int = MOST) -> Iterator[str]:
    """The first of them, and how many more there are."""
    rest = iter(problems)
    yield from islice(rest, most)
    more = sum(1 for _ in rest)
    if more:
        yield f"and {more:,} more of this kind"


def between(there: Any, wanted: Any, path: str, source: str = "the rows give") -> Iterator[str]:
    """Each value that differs between what is there and what `source` tells, by its place."""
    if isinstance(there, Mapping) and isinstance(wanted, Mapping):
        for name in dict.fromkeys([*wanted, *there]):
            inside = f"{path}.{name}" if " " not in str(name) else f"{path}[{name}]"
            if name not in there:
                yield f"{inside}: is missing; {source} {shown(wanted[name])}"
            elif name not in wanted:
                yield f"{inside}: is {shown(there[name])}; {source} none"
            else:
                yield from between(there[name], wanted[name], inside, source)
    elif _is_list(there) and _is_list(wanted):
        if len(there) != len(wanted):
            yield f"{path}: has {len(there):,} entries; {source} {len(wanted):,}"
        for i, (one, other) in enumerate(zip(there, wanted, strict=False)):
            yield from between(one, other, f"{path}[{_name_of(other, i)}]", source)
    elif there != wanted or isinstance(there, bool) != isinstance(wanted, bool):
        yield f"{path}: is {shown(there)}; {source} {shown(wanted)}"


def shown(value: Any) -> str:
    """A value in few characters."""
    return one_line(repr(value) if isinstance(value, str) else str(value), 80)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _name_of(value: Any, place: int) -> str:
    """What an entry of a list is called: by its names where it has some, else by its number."""
    if not isinstance(value, Mapping):
        return str(place)
    names = [str(value[name]) for name in ("suite", "slice", "key") if value.get(name) is not None]
    if not names:
        names = [str(value[name]) for name in _NAMES if isinstance(value.get(name), str)][:1]
    return one_line(f"{place}: {' '.join(names)}", 60) if names else str(place)


def first_difference(there: bytes, wanted: bytes) -> str:
    """Where two files part: line, and the texts around it; only that they do where they are no text."""
    place = _common(there, wanted)
    try:
        texts = there.decode(), wanted.decode()
    except UnicodeDecodeError:
        return f"differs from byte {place:,} on from what the rows give"
    line = there[:place].count(b"\n") + 1
    start = len(there[:place].decode("utf-8", "ignore"))
    has, should = (one_line(_around(text, start), 70) for text in texts)
    return f"line {line:,}: has “{has}” where the rows give “{should}”"


def _common(one: bytes, other: bytes) -> int:
    """Length of the longest common start."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _around(text: str, place: int, reach: int = 30) -> str:
    return text[max(0, place - reach) : place + reach]
